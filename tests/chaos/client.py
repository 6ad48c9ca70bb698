"""A client as the protocol wants it: it keeps positions and nonces, comes back anywhere, and repeats itself safely.

It connects with ``?follow=none`` and joins each chat with ``after_seq``, the highest position that it has heard of.
That holds also when a replay was cut off half-way, for a replay ascends by position.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import time
from collections.abc import Sequence
from typing import TypeVar

import msgspec
from msgspec import UNSET
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from chatapp.protocol.events import (
    Ack,
    ChatUpdated,
    Error,
    GoingAway,
    MemberAdded,
    MemberRemoved,
    MessageDeleted,
    MessageSent,
    MessageUpdated,
    NewChat,
    Ready,
    ServerEvent,
    System,
)
from chatapp.protocol.ids import ChatId, MessageId, Seq, UserId
from tests.chaos.hearing import Positioned, heard
from tests.chaos.history import (
    ChangeAcked,
    ChangeInvoked,
    ChangeRefused,
    ClientHistory,
    Closed,
    FrameKind,
    JoinAcked,
    JoinRefused,
    JoinSent,
    Opened,
    Record,
    Reread,
    ResyncTold,
    SendAcked,
    SendInvoked,
    SendRefused,
    digest,
)
from tests.chaos.outstanding import Change, ChatState, Outstanding, Refusal, Sent
from tests.chaos.rest import RefusedError, Rest

_OPEN_TIMEOUT_S = 2.0
_PING_S = 1.0
_ANSWER_TIMEOUT_S = 2.0
_TICK_S = 0.1
_BACKOFF_START_S = 0.05
_BACKOFF_LIMIT_S = 1.0
_OUTSIDE_S = 1.0
_OUTBOX_LIMIT = 1000
_RETRYABLE = frozenset({"unavailable", "overloaded", "rate_limited", "internal", "internal_error", "error"})

T = TypeVar("T")
_decode = msgspec.json.Decoder(ServerEvent).decode


class StartOverError(WebSocketException):
    """The client leaves this connection and makes a new one."""


class Client:
    """One user's device. ``run`` owns the connection and everything that goes with it."""

    def __init__(
        self,
        name: str,
        user_id: UserId,
        token: str,
        gateways: Sequence[str],
        chats: Sequence[ChatId],
        seed: int,
        *,
        live_only: bool = False,
    ) -> None:
        """``chats``: those to follow. ``gateways``: ``host:port`` of each replica.

        ``live_only``: it joins nothing, but follows what every connection follows that does not say otherwise.
        """
        self.history = ClientHistory(name, user_id, live_only)
        self.chats = {chat_id: ChatState() for chat_id in chats}
        self.token = token
        self.unexpected: dict[str, int] = {}
        """How often each error code came that no command of ours deserves."""
        self._gateways = gateways
        self._rng = random.Random(seed)
        self._rest = Rest(gateways, self._rng)
        self._outstanding: dict[str, Outstanding] = {}
        self._changes: dict[str, Change] = {}
        self._joins: dict[str, ChatId] = {}
        self._outbox: asyncio.Queue[bytes] = asyncio.Queue(_OUTBOX_LIMIT)
        self._numbers = itertools.count(1)
        self._connection = 0
        self._pause_s = 0.0

    @property
    def outstanding(self) -> int:
        """Messages that have no answer yet."""
        return len(self._outstanding)

    def has_all(self, last_seqs: dict[ChatId, Seq]) -> bool:
        """Whether it follows each of these chats and has heard everything up to these positions."""
        return all(
            state.live and state.position >= last_seqs[chat_id]
            for chat_id, state in self.chats.items()
            if chat_id in last_seqs
        )

    async def send(self, chat_id: ChatId, content: str) -> Sent | Refusal:
        """A new message, repeated with the same nonce until it has a definite answer."""
        return await self.send_as(chat_id, content, f"{self.history.client}-{next(self._numbers)}", first=True)

    async def send_as(self, chat_id: ChatId, content: str, nonce: str, *, first: bool) -> Sent | Refusal:
        """As ``send``, with a given nonce. ``first`` False: another device of the user sends the same message."""
        if first:
            self._record(SendInvoked(_now(), chat_id, nonce, digest(content)))
        sending = Outstanding(chat_id, nonce, content, asyncio.get_running_loop().create_future())
        self._outstanding[nonce] = sending
        self._attempt(sending)
        try:
            return await sending.answer
        finally:
            self._outstanding.pop(nonce, None)

    async def change(self, chat_id: ChatId, message_id: MessageId, content: str | None) -> bool:
        """Edit a message, or delete it (None), once. False where it was refused or nothing is known of its end."""
        ref = f"{self.history.client}-change-{next(self._numbers)}"
        self._record(ChangeInvoked(_now(), ref, chat_id, message_id, None if content is None else digest(content)))
        change = self._changes[ref] = Change(ref, asyncio.get_running_loop().create_future())
        payload: dict[str, int | str] = {"message_id": message_id}
        if content is not None:
            payload["content"] = content
        self._write("delete_message" if content is None else "edit_message", payload, ref)
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                return await change.answer
        except TimeoutError:
            return False
        finally:
            del self._changes[ref]

    async def run(self) -> None:
        """Be connected, again and again, until cancelled."""
        backoff_s = _BACKOFF_START_S
        try:
            while True:
                started = _now()
                with contextlib.suppress(OSError, TimeoutError, WebSocketException, msgspec.MsgspecError):
                    await self._connect()
                healthy = _now() - started > 1.0
                backoff_s = _BACKOFF_START_S if healthy else min(2 * backoff_s, _BACKOFF_LIMIT_S)
                await asyncio.sleep(self._pause_s + self._rng.uniform(0, backoff_s))
                self._pause_s = 0.0
        finally:
            await self._rest.close()

    async def _connect(self) -> None:
        replica = self._rng.randrange(len(self._gateways))
        async with connect(
            f"ws://{self._gateways[replica]}/ws{'' if self.history.live_only else '?follow=none'}",
            additional_headers={"Authorization": f"Bearer {self.token}"},
            compression=None,
            proxy=None,
            open_timeout=_OPEN_TIMEOUT_S,
            ping_interval=_PING_S,
            ping_timeout=_PING_S,
            close_timeout=0.2,
        ) as socket:
            async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                first = _decode(await socket.recv())
            if not isinstance(first, Ready):
                raise WebSocketException(f"the first frame is {type(first).__name__}")
            self._opened(first, replica)
            caretakers = [asyncio.create_task(self._write_out(socket)), asyncio.create_task(self._retry(socket))]
            try:
                async for text in socket:
                    self._on_event(_decode(text))
            finally:
                await _end([*caretakers, *(state.reread for state in self.chats.values() if state.reread)])
                self._closed(socket)

    def _opened(self, ready: Ready, replica: int) -> None:
        self._connection += 1
        self._outbox = asyncio.Queue(_OUTBOX_LIMIT)
        self._joins.clear()
        positions = {chat_id: state.position for chat_id, state in self.chats.items()}
        self._record(Opened(_now(), self._connection, replica, ready.payload.epoch, positions))
        for state in self.chats.values():
            state.live, state.connection, state.due, state.reread = False, 0, 0.0, None
        for sending in self._outstanding.values():
            sending.due = 0.0
        if self.history.live_only:
            for chat in ready.payload.chats:
                self._follows_from(chat.chat_id, chat.last_seq)
        self._do_what_is_due()

    def _follows_from(self, chat_id: ChatId, position: Seq) -> None:
        """A connection that follows everything has, as it were, joined at the chat's position."""
        state = self.chats.get(chat_id)
        if state is not None:
            state.live, state.connection, state.position = True, self._connection, position
            self._record(JoinSent(_now(), self._connection, chat_id, position))
            self._record(JoinAcked(_now(), self._connection, chat_id, position))

    def _closed(self, socket: ClientConnection) -> None:
        for state in self.chats.values():
            state.live = False
        self._record(Closed(_now(), self._connection, socket.close_code))

    async def _write_out(self, socket: ClientConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                await socket.send(await self._outbox.get(), text=True)

    async def _retry(self, socket: ClientConnection) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            if any(self.chats[chat_id].due <= _now() for chat_id in self._joins.values()):
                socket.transport.abort()  # to join again here could mix two replays
                return
            self._do_what_is_due()

    def _do_what_is_due(self) -> None:
        now = _now()
        for sending in self._outstanding.values():
            if sending.due <= now:
                self._attempt(sending)
        for chat_id, state in self.chats.items():
            if not (state.live or state.reread or self.history.live_only) and state.due <= now:
                self._join(chat_id, state)

    def _attempt(self, sending: Outstanding) -> None:
        payload: dict[str, int | str] = {
            "chat_id": sending.chat_id,
            "content": sending.content,
            "nonce": sending.nonce,
        }
        sending.due = _now() + _ANSWER_TIMEOUT_S
        if self._write("message", payload, sending.nonce):
            sending.attempts += 1

    def _join(self, chat_id: ChatId, state: ChatState) -> None:
        ref = f"join-{next(self._numbers)}"
        payload: dict[str, int | str] = {"chat_id": chat_id, "after_seq": state.position}
        state.due = _now() + 2 * _ANSWER_TIMEOUT_S
        if self._write("join_chat", payload, ref):
            self._joins[ref] = chat_id
            state.connection = self._connection
            self._record(JoinSent(_now(), self._connection, chat_id, state.position))

    def _write(self, command: str, payload: dict[str, int | str], ref: str) -> bool:
        try:
            self._outbox.put_nowait(msgspec.json.encode({"type": command, "payload": payload, "id": ref}))
        except asyncio.QueueFull:
            return False
        return True

    def _on_event(self, event: ServerEvent) -> None:
        match event:
            case Ack():
                self._on_ack(event)
            case Error():
                self._on_error(event)
            case GoingAway():
                self._pause_s = min(event.payload.reconnect_after_ms / 1000, _BACKOFF_LIMIT_S)
            case NewChat():
                state = self.chats.get(event.payload.id)
                if state is not None and not state.live:
                    self._entered(state)
            case MessageSent() | MessageUpdated() | MessageDeleted() | System() | ChatUpdated() | MemberAdded():
                self._on_heard(event)
            case MemberRemoved():
                self._on_heard(event)
                state = self.chats.get(event.payload.chat_id)
                if event.payload.user_id == self.history.user_id and state is not None and state.live:
                    state.live, state.due = False, _now() + _OUTSIDE_S
            case _:
                pass

    def _on_heard(self, event: Positioned) -> None:
        record = heard(event, _now(), self._connection)
        if record is None:
            return
        state = self.chats.get(record.chat_id)
        if self.history.live_only and state is not None and not state.live:
            # Followed again, for it became a member again.
            if record.subject == self.history.user_id and record.frame is FrameKind.MEMBER_ADDED:
                self._entered(state)
            if record.frame is FrameKind.SYSTEM:
                return
        self._record(record)
        if state is not None:
            state.position = max(state.position, record.position)

    def _entered(self, state: ChatState) -> None:
        if self.history.live_only:
            raise StartOverError
        state.due = 0.0

    def _on_ack(self, ack: Ack) -> None:
        ref, payload = _ref(ack), ack.payload
        if ref in self._outstanding and payload.message_id is not None and payload.seq is not None:
            sending = self._outstanding[ref]
            self._record(SendAcked(_now(), sending.chat_id, sending.nonce, payload.message_id, payload.seq))
            _answer(sending.answer, Sent(sending.chat_id, payload.message_id, payload.seq))
        elif ref in self._changes:
            self._record(ChangeAcked(_now(), ref))
            _answer(self._changes[ref].answer, True)
        elif ref in self._joins and payload.seq is not None:
            chat_id = self._joins.pop(ref)
            self._record(JoinAcked(_now(), self._connection, chat_id, payload.seq))
            state = self.chats[chat_id]
            state.live, state.position = True, max(state.position, payload.seq)

    def _on_error(self, error: Error) -> None:
        ref, code = _ref(error), error.payload.code
        retry_s = error.payload.retry_after or self._rng.uniform(0.05, 0.5)
        if ref in self._outstanding:
            sending = self._outstanding[ref]
            if code in _RETRYABLE:
                sending.due = _now() + retry_s
            else:
                self._record(SendRefused(_now(), sending.nonce, code, sending.attempts))
                _answer(sending.answer, Refusal(code))
        elif ref in self._changes:
            if code not in _RETRYABLE:
                self._record(ChangeRefused(_now(), ref, code))
            _answer(self._changes[ref].answer, False)
        elif ref in self._joins:
            self._join_refused(self._joins.pop(ref), code, retry_s)
        else:
            self.unexpected[code] = self.unexpected.get(code, 0) + 1

    def _join_refused(self, chat_id: ChatId, code: str, retry_s: float) -> None:
        state = self.chats[chat_id]
        self._record(JoinRefused(_now(), self._connection, chat_id, code))
        if code == "resync_required":
            self._record(ResyncTold(_now(), self._connection, chat_id))
            state.reread = asyncio.create_task(self._read_again(chat_id, state))
        elif code in _RETRYABLE:
            state.due = _now() + retry_s
        else:
            state.due = _now() + _OUTSIDE_S

    async def _read_again(self, chat_id: ChatId, state: ChatState) -> None:
        """Everything, over REST: only the messages after the position would leave out what changed before it."""
        try:
            upto = await self._rest.last_seq(self.token, chat_id)
            messages = await self._rest.history(self.token, chat_id)
        except RefusedError:
            state.due = _now() + _OUTSIDE_S
        else:
            rows = {message.seq: digest(message.content) for message in messages}
            self._record(Reread(_now(), chat_id, upto, rows))
            state.position, state.due = upto, 0.0
        state.reread = None

    def _record(self, record: Record) -> None:
        self.history.records.append(record)


def _ref(answer: Ack | Error) -> str:
    return "" if answer.id is UNSET else str(answer.id)


def _answer(future: asyncio.Future[T], value: T) -> None:
    if not future.done():
        future.set_result(value)


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _now() -> float:
    return time.monotonic()
