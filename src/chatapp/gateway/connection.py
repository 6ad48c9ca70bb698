"""One live connection: its session, its transport, and the commands it has under way."""

from __future__ import annotations

import asyncio
import logging
from array import array
from collections import deque
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, assert_never

from msgspec import UNSET, Struct, UnsetType

from chatapp.auth.principal import Principal
from chatapp.errors import ChatAppError
from chatapp.gateway.session import Close, Do, Pace, Reply, Session, error_event
from chatapp.gateway.transport import ABNORMAL, Burst, Transport
from chatapp.protocol.codes import CloseCode
from chatapp.protocol.commands import Command, Ping, SendMessage, type_of
from chatapp.protocol.events import (
    Ack,
    AckPayload,
    CommandRef,
    DirectEvent,
    Error,
    ErrorPayload,
    Pong,
    encode_event,
)
from chatapp.protocol.ids import ChatId, ConnectionId, Seq, UserId
from chatapp.tracing.work import doing

if TYPE_CHECKING:
    from chatapp.gateway.commands import Commands
    from chatapp.storage.writer import Appended

_log = logging.getLogger(__name__)
_NOTHING = array("q")
"""One for all; nobody changes it."""


class ConnectionLimits(Struct, frozen=True):
    """Bounds of one connection."""

    backlog_bytes: int = 1024 * 1024
    """Past it the client reads too slowly: 4409."""
    commands_in_flight: int = 256
    """Commands that are not answered yet; past it no more are read until half of them are."""
    rooms: int = 500
    """Chats that one connection may follow."""


class Connection:
    """Made after the handshake; ``ended`` must be called exactly once, when the transport is gone."""

    __slots__ = (
        "__weakref__",
        "_backlog_limit",
        "_clock",
        "_commands",
        "_frames",
        "_in_flight",
        "_limits",
        "_on_end",
        "_queue",
        "_reading_paused",
        "_session",
        "_until_ready",
        "_worker",
        "began",
        "chats",
        "closing",
        "connection_id",
        "follows_all",
        "last_heard",
        "left",
        "listed",
        "principal",
        "transport",
        "user_id",
    )

    def __init__(
        self,
        connection_id: ConnectionId,
        principal: Principal,
        transport: Transport,
        commands: Commands,
        limits: ConnectionLimits,
        clock: Callable[[], float],
        *,
        follows_all: bool,
        on_end: Callable[[Connection], None],
        pace: Pace | None = None,
    ) -> None:
        self.connection_id = connection_id
        self.principal = principal
        self.user_id: UserId = principal.user_id
        self.transport = transport
        self.follows_all = follows_all
        # A dict without values, and lists made when they are needed: thousands of connections mostly wait, and a set of
        # 20 chats takes three times as much memory.
        self.chats: dict[ChatId, None] = {}
        """The chats whose rooms it is in the audience of."""
        self.left: dict[ChatId, Seq] = {}
        """Chats that only the client's own ``join_chat`` makes it follow (again), with their positions at the time."""
        self.listed = _NOTHING
        """The chats that ``ready`` told of, where the connection does not follow them by itself."""
        self.closing = False
        self.began = clock()
        self.last_heard = self.began
        """When anything came from the client, a pong included."""
        self._commands = commands
        self._limits = limits
        self._backlog_limit = limits.backlog_bytes
        self._clock = clock
        self._frames = 0
        self._session = Session(pace, self.user_id)
        self._queue: deque[Command] | None = None
        self._worker: asyncio.Task[None] | None = None
        self._in_flight = 0
        self._reading_paused = False
        self._until_ready: list[Callable[[], None]] | None = []
        self._on_end = on_end

    # -- what comes -----------------------------------------------------------------------------------------------

    def heard(self) -> None:
        """A sign of life that is no frame of text, such as a pong."""
        self.last_heard = self._clock()

    def receive(self, text: bytes) -> None:
        """A text frame, whole. Never raises, never waits."""
        if self.closing:
            return
        if self._until_ready is not None:
            # One read of the socket at most: nothing more is read meanwhile.
            self._until_ready.append(lambda: self.receive(text))
            self.transport.pause_reading()
            return
        now = self.last_heard = self._clock()
        self._frames += 1
        for effect in self._session.receive(text, now):
            match effect:
                case Do(command):
                    self._commands.stats.commands[type(command)] += 1
                    self._do(command)
                case Reply(event):
                    self._count_answer(event)
                    self.reply(event)
                case Close(code, reason):
                    self.close(code, reason)
                case _:
                    assert_never(effect)

    def _count_answer(self, event: Pong | Error) -> None:
        """Of what the session answered by itself."""
        if isinstance(event, Pong):
            self._commands.stats.commands[Ping] += 1
        else:
            self._commands.stats.answered_error(event.payload.code)

    def ended(self) -> None:
        """The transport is gone."""
        self.closing = True
        self._queue = None
        self._until_ready = None
        if self._worker is not None:
            self._worker.cancel()
        self._on_end(self)
        if _log.isEnabledFor(logging.INFO):
            self._log_end()

    @property
    def is_busy(self) -> bool:
        """Whether commands are under way."""
        return self._in_flight > 0

    # -- the start ------------------------------------------------------------------------------------------------

    @property
    def is_starting(self) -> bool:
        """Whether ``ready`` is still to come."""
        return self._until_ready is not None

    def once_ready(self, act: Callable[[], None]) -> None:
        """Act now, or when ``ready`` has been sent: it is the first that a client hears."""
        if self._until_ready is None:
            act()
        else:
            self._until_ready.append(act)

    def is_ready(self) -> None:
        """``ready`` was sent: do what had to wait for it, and read."""
        acts, self._until_ready = self._until_ready or [], None
        for act in acts:
            act()
        if acts and not self._reading_paused:
            self.transport.resume_reading()

    # -- what goes ------------------------------------------------------------------------------------------------

    def send(self, burst: Burst, at_once: bool = False) -> bool:
        """Write a burst. False: the client reads too slowly and ``too_slow`` should follow."""
        if self.closing:
            return True
        return self.transport.write(burst, at_once) <= self._backlog_limit

    def reply(self, event: DirectEvent) -> None:
        """Write an event that is for this connection alone."""
        if not self.send(Burst((encode_event(event),))):
            self.too_slow()

    def ack(self, command: Command, payload: AckPayload) -> None:
        """The command is done, and what it did is on disk."""
        self.reply(Ack(payload, id=command.id))

    def refuse(self, command: Command, error: ChatAppError, chat_id: ChatId | None = None) -> None:
        """The command failed; ``chat_id`` where it is about several and failed for this one."""
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug(
                "command refused",
                extra={
                    "connection_id": self.connection_id,
                    "user_id": self.user_id,
                    "command": type_of(command),
                    "code": error.code_word,
                },
            )
        self._commands.stats.answered_error(error.code_word)
        self.reply(error_event(error, command.id, chat_id))

    def too_slow(self) -> None:
        """The backlog passed its limit: tell why, if that can still be told, and drop the rest."""
        self.close(CloseCode.TOO_SLOW, "too slow to read")

    def close(self, code: CloseCode, reason: str = "") -> None:
        """End the connection from here."""
        if not self.closing:
            self.closing = True
            self._commands.stats.closed_with(code)
            self.transport.close(code, reason)

    # -- commands -------------------------------------------------------------------------------------------------

    def enqueue(self, command: Command) -> None:
        """Carry out a command as if the client had sent it."""
        self._do(command)

    def _do(self, command: Command) -> None:
        self._in_flight += 1
        if self._in_flight >= self._limits.commands_in_flight and not self._reading_paused:
            self._reading_paused = True
            self.transport.pause_reading()
        if isinstance(command, SendMessage):
            self._send_message(command)
            return
        if self._queue is None:
            self._queue = deque()
        self._queue.append(command)
        if self._worker is None:
            self._worker = asyncio.get_running_loop().create_task(self._work())

    def _done(self) -> None:
        self._in_flight -= 1
        if self._reading_paused and self._in_flight * 2 <= self._limits.commands_in_flight:
            self._reading_paused = False
            self.transport.resume_reading()

    def _send_message(self, command: SendMessage) -> None:
        """Sends do not wait for each other: the writer keeps their order."""
        try:
            self._commands.submit(self, command, partial(self._sent, command, monotonic()))
        except ChatAppError as error:
            self._done()
            self.refuse(command, error)

    def _sent(self, command: SendMessage, began: float, outcome: Appended | ChatAppError) -> None:
        self._done()
        if isinstance(outcome, ChatAppError):
            self.refuse(command, outcome)
            return
        payload = AckPayload(
            type="message",
            chat_id=ChatId(command.payload.chat_id),
            message_id=outcome.message_id,
            seq=outcome.seq,
            timestamp=outcome.created_at,
            nonce=command.payload.nonce,
        )
        self.ack(command, payload)
        self._commands.stats.send_to_ack_s.observe(monotonic() - began)

    async def _work(self) -> None:
        """Carry out what waits, one after the other, and end."""
        try:
            with doing({"connection_id": self.connection_id}):
                while self._queue and not self.closing:
                    await self._perform(self._queue.popleft())
        finally:
            self._worker = None
            self._queue = None

    async def _perform(self, command: Command) -> None:
        try:
            await self._commands.perform(self, command)
        except ChatAppError as error:
            self.refuse(command, error)
        except Exception as error:  # noqa: BLE001 (a fault of ours must not end the connection)
            self._broke(command.id, error)
        finally:
            self._done()

    def _log_end(self) -> None:
        _log.info(
            "connection closed",
            extra={
                "connection_id": self.connection_id,
                "user_id": self.user_id,
                "code": int(self.transport.closed_with or ABNORMAL),
                "duration_s": round(self._clock() - self.began, 3),
                "frames": self._frames,
            },
        )

    def _broke(self, ref: CommandRef | UnsetType, error: BaseException) -> None:
        _log.error("a command failed", exc_info=error, extra={"connection_id": self.connection_id})
        self._commands.stats.answered_error("internal")
        self.reply(Error(ErrorPayload("internal", "internal error"), id=ref if ref is not UNSET else UNSET))
