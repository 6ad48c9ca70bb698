"""A device that follows one chat and comes back wherever it is let in, from the position that it has reached."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, WebSocketException

from chatapp.protocol.events import Ack, Error, GoingAway, MessageSent, ServerEvent, System

_OPEN_TIMEOUT_S = 10.0
_PAUSE_S = 0.5
_decode = msgspec.json.Decoder(ServerEvent).decode


class Device:
    """``run`` until cancelled; what it has heard and what went wrong can be read at any time."""

    def __init__(self, base: str, token: str, chat_id: int, name: str) -> None:
        self._url = f"{base.replace('http', 'ws', 1)}/ws?follow=none"
        self._token = token
        self._chat_id = chat_id
        self._name = name
        self._socket: ClientConnection | None = None
        self._away_s = 0.0
        self.position = 0
        self.heard: list[str] = []
        self.unacked: dict[str, str] = {}
        """What was sent over this device's socket and not acked yet, by nonce."""
        self.acked: list[str] = []
        self.connects = 0
        self.refused: Counter[str] = Counter()
        """Handshakes that failed, by status or kind."""
        self.wrong: list[str] = []
        """What must never be: a position twice, left out, or a refused command."""

    async def run(self) -> None:
        """Be connected until cancelled."""
        while True:
            try:
                await self._connect()
            except InvalidStatus as error:
                self.refused[str(error.response.status_code)] += 1
            except (OSError, WebSocketException) as error:  # TimeoutError is an OSError
                if self._socket is None:
                    self.refused[type(error).__name__] += 1
            self._socket = None
            await asyncio.sleep(self._away_s + random.uniform(0, _PAUSE_S))
            self._away_s = 0.0

    async def send(self, nonce: str, content: str) -> None:
        """Send it now, or when the device is back; again with the same nonce until it is acked."""
        self.unacked[nonce] = content
        socket = self._socket
        if socket is not None:
            try:
                await self._write(socket, "message", chat_id=self._chat_id, content=content, nonce=nonce)
            except WebSocketException:
                return  # the reader hears of it too

    async def _connect(self) -> None:
        async with connect(
            self._url,
            additional_headers={"Authorization": f"Bearer {self._token}"},
            compression=None,
            proxy=None,
            open_timeout=_OPEN_TIMEOUT_S,
            close_timeout=1.0,
        ) as socket:
            self.connects += 1
            await self._write(socket, "join_chat", chat_id=self._chat_id, after_seq=self.position)
            self._socket = socket
            for nonce, content in list(self.unacked.items()):
                await self._write(socket, "message", chat_id=self._chat_id, content=content, nonce=nonce)
            async for frame in socket:
                self._hear(_decode(frame))
                if self._away_s:
                    return

    async def _write(self, socket: ClientConnection, kind: str, **payload: object) -> None:
        await socket.send(msgspec.json.encode({"type": kind, "payload": payload}).decode())

    def _hear(self, event: ServerEvent) -> None:
        match event:
            case MessageSent(payload):
                self._advance(payload.seq)
                self.heard.append(payload.content)
            case System(payload) if payload.seq is not None:
                self._advance(payload.seq)
            case Ack(payload) if payload.nonce is not None and payload.nonce in self.unacked:
                self.acked.append(self.unacked.pop(payload.nonce))
            case GoingAway(payload):
                self._away_s = payload.reconnect_after_ms / 1000 or 0.001
            case Error(payload) if payload.code not in ("unavailable", "rate_limited"):
                self.wrong.append(f"{self._name}: error {payload.code}")
            case _:
                pass

    def _advance(self, seq: int) -> None:
        if seq != self.position + 1:
            self.wrong.append(f"{self._name}: {seq} came after {self.position}")
        self.position = max(self.position, seq)
