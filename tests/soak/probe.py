"""Two devices that measure: one sends at one replica, the other hears it at another."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter

import msgspec
from msgspec import UNSET, Struct, field
from websockets.asyncio.client import ClientConnection

from chatapp.protocol.events import Ack, Error, MessageSent, ServerEvent
from tests.soak.account import Account, socket

INTERVAL_S = 0.1
"""Between sends: half of what rate_limits.send allows a user."""

_decode = msgspec.json.Decoder(ServerEvent).decode


class Latencies(Struct):
    """Seconds, since they were last taken."""

    ack_s: list[float] = field(default_factory=list)
    delivery_s: list[float] = field(default_factory=list)


class Probe:
    """``run`` is its task. The clock of both ends is this process's, whose own lag is in what is measured."""

    def __init__(self, sender: Account, hearer: Account, chat_id: int, ports: tuple[int, int]) -> None:
        self.refused: Counter[str] = Counter()
        self._accounts = sender, hearer
        self._chat_id = chat_id
        self._ports = ports
        self._recent = Latencies()
        self._sent_at: dict[str, float] = {}

    def take(self) -> Latencies:
        """Those since the last call."""
        taken, self._recent = self._recent, Latencies()
        return taken

    async def run(self) -> None:
        """Measure until cancelled. Raises when a socket ends: nobody gave the server cause to close it."""
        sender, hearer = self._accounts
        async with (
            socket(self._ports[0], sender) as sending,
            socket(self._ports[1], hearer) as hearing,
            asyncio.TaskGroup() as group,
        ):
            group.create_task(self._acks(sending))
            group.create_task(self._deliveries(hearing))
            group.create_task(self._send(sending))

    async def _send(self, connection: ClientConnection) -> None:
        for number in itertools.count():
            nonce = f"probe-{number}"
            self._sent_at[nonce] = time.monotonic()
            payload = {"chat_id": self._chat_id, "content": nonce, "nonce": nonce}
            await connection.send(msgspec.json.encode({"type": "message", "payload": payload, "id": nonce}), text=True)
            await asyncio.sleep(INTERVAL_S)

    async def _acks(self, connection: ClientConnection) -> None:
        async for text in connection:
            event = _decode(text)
            if isinstance(event, Ack) and event.id is not UNSET and str(event.id) in self._sent_at:
                self._recent.ack_s.append(time.monotonic() - self._sent_at[str(event.id)])
            elif isinstance(event, Error):
                self.refused[event.payload.code] += 1

    async def _deliveries(self, connection: ClientConnection) -> None:
        async for text in connection:
            event = _decode(text)
            if isinstance(event, MessageSent) and event.payload.content in self._sent_at:
                self._recent.delivery_s.append(time.monotonic() - self._sent_at[event.payload.content])
                for old in list(self._sent_at)[:-100]:  # what never comes is the checker's matter
                    del self._sent_at[old]
