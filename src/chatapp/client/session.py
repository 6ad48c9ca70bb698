"""A session: the events of one's chats as they happen, over as many connections as it takes."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self, assert_never

import msgspec
from websockets.asyncio.client import ClientConnection

from chatapp.client.addresses import Addresses
from chatapp.client.awaiting import GIVE_UP_S, PENDING_LIMIT, Awaiting
from chatapp.client.backoff import Loss
from chatapp.client.bookmark import Bookmark, Marking
from chatapp.client.catching_up import Catching
from chatapp.client.dialling import AWAY, Dialling, loss_of
from chatapp.client.errors import Invalid, LoggedOut, SessionClosed
from chatapp.client.events import SessionEvent
from chatapp.client.inbox import Inbox
from chatapp.client.machine import Drop, Effect, GiveUp, Machine, ReadHistory, Reconnect, Renew, Tell, Write
from chatapp.client.outbox import Settled
from chatapp.protocol.commands import (
    ChatPayload,
    DeleteMessage,
    DeletePayload,
    EditMessage,
    EditPayload,
    MarkRead,
    ReadPayload,
    SendMessage,
    SendPayload,
    TypingNow,
)
from chatapp.protocol.events import AckPayload, Ready, ServerEvent
from chatapp.protocol.ids import ChatId
from chatapp.protocol.text import is_storable

_FRAMES_LIMIT = 4 * PENDING_LIMIT

_decode = msgspec.json.Decoder(ServerEvent).decode


class Account(Protocol):
    """Who the session is for."""

    @property
    def token(self) -> str | None:
        """The token to connect with."""

    async def renew(self, refused: str) -> bool:
        """Get another token in place of this one; False where that is not possible."""


class Session:
    """Open it with ``async with``, and iterate over it: messages come once each, ascending within their chat.

    It connects, and connects again, until it is closed; ``send`` and the like wait for the connection. Iterating ends
    when the session is closed, and raises ``LoggedOut`` or ``SessionClosed`` when it cannot go on. At most ``events``
    events are kept for the reader. Beyond, the socket is left unread; only while answers are awaited, what does not fit
    is dropped and fetched again later, so a reader may send while it is far behind.
    """

    def __init__(
        self,
        account: Account,
        addresses: Addresses,
        dialling: Dialling,
        machine: Machine,
        catching: Catching,
        *,
        bookmark: Bookmark,
        events: int,
        tick_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._account = account
        self._addresses = addresses
        self._dialling = dialling
        self._machine = machine
        self._catching = catching
        self._marking = Marking(bookmark)
        self._inbox = Inbox(events)
        self._tick_s = tick_s
        self._clock = clock
        self._awaiting = Awaiting(machine.outbox, self._write_now)
        self._frames: asyncio.Queue[bytes] = asyncio.Queue(_FRAMES_LIMIT)
        self._socket: ClientConnection | None = None
        self._dropped: Loss | None = None
        self._token = ""
        self._wanted = asyncio.Event()
        self._readers: set[asyncio.Task[None]] = set()
        self._runner: asyncio.Task[None] | None = None
        self._over: SessionClosed | None = None

    # -- for the caller -------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Begin to connect; the first event tells how that went."""
        self._runner = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection and end. What is not answered yet raises ``SessionClosed``. May be called twice."""
        self._end(SessionClosed("the session was closed"), told=False)
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.gather(self._runner, return_exceptions=True)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionEvent:
        """The next event. One reader at a time."""
        event = await self._inbox.take()
        if event is None:
            raise StopAsyncIteration
        self._marking.taken(event)
        if self._inbox.is_half_empty and self._machine.following.skips:
            self._do(self._machine.room_again())
        return event

    @property
    def bookmark(self) -> Bookmark:
        """Up to where the reader has taken events: with it a later session goes on exactly there."""
        return self._marking.bookmark

    async def send(
        self, chat_id: int, content: str, *, nonce: str | None = None, within_s: float = GIVE_UP_S
    ) -> AckPayload:
        """Send a message and wait until it is on disk, across reconnections. The ack has its id and ``seq``.

        Raises ``Refused`` for what the service will not keep, ``Unanswered`` after ``within_s`` seconds (then nothing
        is known; the same ``nonce``, 1 to 64 characters, makes another attempt safe), ``SessionClosed``.
        """
        if not is_storable(content):
            raise Invalid("validation_failed", "the content has a NUL or a lone surrogate")
        nonce = nonce or secrets.token_urlsafe(15)
        payload = SendPayload(chat_id, content, nonce)
        return await self._awaiting.perform(
            lambda ref: SendMessage(payload, id=ref), within_s, "the message", nonce=nonce
        )

    async def edit(self, message_id: int, content: str, *, within_s: float = GIVE_UP_S) -> AckPayload:
        """Replace one's own message's content. Raises as ``send``.

        It is not said twice, for it could undo a later edit: ``Unanswered`` also when the connection ends before the
        answer. Look at the message, and decide.
        """
        payload = EditPayload(message_id, content)
        return await self._awaiting.perform(lambda ref: EditMessage(payload, id=ref), within_s, "the edit", once=True)

    async def delete(self, message_id: int, *, within_s: float = GIVE_UP_S) -> AckPayload:
        """Erase a message. Raises as ``send``. Unanswered, it is asked for again."""
        payload = DeletePayload(message_id)
        return await self._awaiting.perform(
            lambda ref: DeleteMessage(payload, id=ref), within_s, "the deletion", deletes=True
        )

    async def mark_read(self, chat_id: int, seq: int, *, within_s: float = GIVE_UP_S) -> AckPayload:
        """Move one's read mark forward. Raises as ``send``."""
        payload = ReadPayload(chat_id, seq)
        return await self._awaiting.perform(lambda ref: MarkRead(payload, id=ref), within_s, "the read mark")

    def typing(self, chat_id: int) -> None:
        """Tell the others that one is writing, if there is a connection. The service tells it once in 3 s at most."""
        if self._machine.is_ready and not self._frames.full():
            self._frames.put_nowait(msgspec.json.encode(TypingNow(ChatPayload(chat_id))))

    # -- connections ----------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        """Be connected, again and again."""
        try:
            while True:
                loss = await self._connect()
                effects, then = self._machine.lost(loss, self._clock())
                self._do(effects)
                match then:
                    case Reconnect(in_s):
                        if not loss.at_once:
                            self._addresses.turn()
                        self._inbox.put(self._machine.reconnecting(loss, in_s, self._addresses.current))
                        await asyncio.sleep(in_s)
                    case Renew():
                        if not await self._account.renew(self._token):
                            self._end(LoggedOut(loss.reason))
                            return
                    case GiveUp(reason):
                        unauthorised = loss.status == 401 or loss.code == 4401
                        self._end((LoggedOut if unauthorised else SessionClosed)(reason))
                        return
                    case _:
                        assert_never(then)
        except Exception as error:
            self._end(SessionClosed(f"the session broke: {error!r}"))
            raise
        finally:
            self._end(SessionClosed("the session is over"), told=False)

    async def _connect(self) -> Loss:
        """One connection, from its opening to its end."""
        url, self._token = self._addresses.current, self._account.token or ""
        self._dropped = None
        self._frames = asyncio.Queue(_FRAMES_LIMIT)
        caretakers: list[asyncio.Task[None]] = []
        error: BaseException | None = None
        try:
            async with self._dialling.open(url, self._machine.query(), self._token) as socket:
                self._socket = socket
                async with asyncio.timeout(self._dialling.open_s):
                    first = _decode(await socket.recv(decode=False))
                if not isinstance(first, Ready):
                    return Loss(f"the first frame is no ready but {type(first).__name__}")
                self._do(self._machine.receive(first, self._clock(), url=url))
                caretakers += [asyncio.create_task(self._write(socket)), asyncio.create_task(self._tick())]
                try:
                    while self._dropped is None:
                        await self._room()
                        self._hear(await socket.recv(decode=False))
                finally:
                    await _ended(caretakers)
        except msgspec.MsgspecError:
            error = None
            self._dropped = self._dropped or Loss("what came is not of this service")
        except AWAY as away:
            error = away
        finally:
            self._socket = None
            await _ended([*caretakers, *self._readers])
            self._readers.clear()
        return self._dropped or loss_of(error)

    async def _room(self) -> None:
        """Leave the socket unread while there is no room, unless answers are awaited."""
        if self._inbox.has_room or self._machine.awaits_answers:
            return
        self._machine.pauses()
        while not (self._inbox.has_room or self._machine.awaits_answers):
            self._wanted.clear()
            waits = [asyncio.create_task(self._inbox.room()), asyncio.create_task(_wait(self._wanted))]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                await _ended(waits)
        self._machine.goes_on(self._clock())

    def _hear(self, text: bytes | str) -> None:
        try:
            event: ServerEvent = _decode(text)
        except msgspec.ValidationError:
            return  # of a newer server: what this client does not know, it does not need
        self._do(self._machine.receive(event, self._clock(), room=self._inbox.has_room))

    async def _write(self, socket: ClientConnection) -> None:
        try:
            while True:
                await socket.send(await self._frames.get(), text=True)
        except AWAY:
            return  # the reader sees why

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self._tick_s)
            self._do(self._machine.tick(self._clock()))

    async def _read_history(self, chat_id: ChatId) -> None:
        try:
            await self._catching.read(chat_id, self._machine.following, self._inbox)
        finally:
            self._do(self._machine.chat_read(chat_id, self._clock()))

    # -- effects --------------------------------------------------------------------------------------------------

    def _do(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Write(frame):
                    self._queue(frame)
                case Tell(event):
                    self._inbox.put(event)
                case Settled(ref, answer):
                    self._awaiting.settle(ref, answer)
                case ReadHistory(chat_id):
                    task = asyncio.create_task(self._read_history(chat_id))
                    self._readers.add(task)
                    task.add_done_callback(self._readers.discard)
                case Drop(loss):
                    self._drop(loss)
                case _:
                    assert_never(effect)

    def _write_now(self) -> None:
        """A command was added."""
        self._wanted.set()
        self._do(self._machine.written(self._clock()))

    def _queue(self, frame: bytes) -> None:
        if self._frames.full():
            self._drop(Loss("the socket does not take what is written"))
        else:
            self._frames.put_nowait(frame)

    def _drop(self, loss: Loss) -> None:
        """Leave this connection; its reader ends, and nothing more of it counts."""
        if self._dropped is None and self._socket is not None:
            self._dropped = loss
            self._socket.transport.abort()

    def _end(self, over: SessionClosed, *, told: bool = True) -> None:
        if self._over is not None:
            return
        self._over = over
        self._awaiting.end(over)
        self._inbox.end(over if told else None)


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


async def _ended(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
