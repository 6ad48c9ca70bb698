"""A client as the protocol wants it: it keeps positions and nonces, comes back anywhere, and repeats itself safely.

It connects with ``?follow=none`` and joins each chat with ``after_seq``, the highest position that it has heard of.
That holds also when a replay was cut off half-way, for a replay ascends by position.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Sequence

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
from chatapp.protocol.ids import ChatId, UserId
from tests.chaos.follower import Follower, StartOver
from tests.chaos.history import ClientHistory, Closed, Opened
from tests.chaos.rest import Rest
from tests.chaos.sender import ANSWER_TIMEOUT_S, Payload, Sender

_OPEN_TIMEOUT_S = 2.0
_PING_S = 1.0
_CLOSE_TIMEOUT_S = 0.2
_TICK_S = 0.1
_BACKOFF_START_S = 0.05
_BACKOFF_LIMIT_S = 1.0
_OUTBOX_LIMIT = 1000
_AWAY = (OSError, TimeoutError, WebSocketException, msgspec.MsgspecError, StartOver)

_decode = msgspec.json.Decoder(ServerEvent).decode


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
        rng = random.Random(seed)
        self.history = ClientHistory(name, user_id, live_only)
        self.token = token
        self.unexpected: dict[str, int] = {}
        """How often each error came that answers no command."""
        self._gateways = gateways
        self._rng = rng
        self._rest = Rest(gateways, rng)
        self.sender = Sender(self.history, self._write, rng)
        self.follower = Follower(self.history, chats, self._write, self._rest, token, rng)
        self._outbox: asyncio.Queue[bytes] = asyncio.Queue(_OUTBOX_LIMIT)
        self._connection = 0
        self._pause_s = 0.0

    async def run(self) -> None:
        """Be connected, again and again, with full-jitter backoff, until cancelled."""
        backoff_s = _BACKOFF_START_S
        try:
            while True:
                started = time.monotonic()
                with contextlib.suppress(*_AWAY):
                    await self._connect()
                healthy = time.monotonic() - started > 1.0
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
            close_timeout=_CLOSE_TIMEOUT_S,
        ) as socket:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                first = _decode(await socket.recv())
            if not isinstance(first, Ready):
                raise WebSocketException(f"the first frame is {type(first).__name__}")
            self._opened(first, replica)
            caretakers = [asyncio.create_task(self._write_out(socket)), asyncio.create_task(self._tick(socket))]
            try:
                async for text in socket:
                    self._on_event(_decode(text))
            finally:
                for caretaker in caretakers:
                    caretaker.cancel()
                await asyncio.gather(*caretakers, return_exceptions=True)
                await self.follower.closed()
                self.history.records.append(Closed(time.monotonic(), self._connection, socket.close_code))

    def _opened(self, ready: Ready, replica: int) -> None:
        self._connection += 1
        self._outbox = asyncio.Queue(_OUTBOX_LIMIT)
        positions = {chat_id: state.position for chat_id, state in self.follower.chats.items()}
        opened = Opened(time.monotonic(), self._connection, replica, ready.payload.epoch, positions)
        self.history.records.append(opened)
        self.follower.opened(self._connection, ready.payload)
        self.sender.opened()

    async def _write_out(self, socket: ClientConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                await socket.send(await self._outbox.get(), text=True)

    async def _tick(self, socket: ClientConnection) -> None:
        try:
            while True:
                self.follower.do_what_is_due()
                self.sender.do_what_is_due()
                await asyncio.sleep(_TICK_S)
        except StartOver:
            socket.transport.abort()

    def _write(self, command: str, payload: Payload, ref: str) -> bool:
        try:
            self._outbox.put_nowait(msgspec.json.encode({"type": command, "payload": payload, "id": ref}))
        except asyncio.QueueFull:
            return False
        return True

    def _on_event(self, event: ServerEvent) -> None:
        match event:
            case Ack(payload=payload, id=ref) if ref is not UNSET:
                self.follower.on_ack(str(ref), payload)
                self.sender.on_ack(str(ref), payload)
            case Error(payload=payload, id=ref) if ref is not UNSET:
                self.follower.on_error(str(ref), payload)
                self.sender.on_error(str(ref), payload)
            case Error(payload=payload):
                self.unexpected[payload.code] = self.unexpected.get(payload.code, 0) + 1
            case GoingAway(payload=payload):
                self._pause_s = min(payload.reconnect_after_ms / 1000, _BACKOFF_LIMIT_S)
            case NewChat(payload=chat):
                self.follower.on_new_chat(chat.id)
            case MessageSent() | MessageUpdated() | MessageDeleted() | System() | ChatUpdated():
                self.follower.on_frame(event)
            case MemberAdded() | MemberRemoved():
                self.follower.on_frame(event)
            case _:
                pass
