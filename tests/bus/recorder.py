"""A listener that remembers, and waiting for conditions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from chatapp.bus.port import Delivery

PATIENCE_S = 15.0
"""Far more than anything here takes: past it a test fails and does not hang."""


async def eventually(condition: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("the condition was not met in time")
        await asyncio.sleep(0.005)


def waited_for(condition: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
    """The same where no loop runs: wait for servers that are asked over the network."""
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.02)


class Recorder:
    """Remembers what the bus told. Set ``fails`` to have it raise afterwards."""

    def __init__(self) -> None:
        self.calls: list[list[Delivery]] = []
        self.gaps = 0
        self.fails = False

    def on_deliveries(self, deliveries: Sequence[Delivery]) -> None:
        self.calls.append(list(deliveries))
        if self.fails:
            raise RuntimeError("a listener's mistake")

    def on_gap(self) -> None:
        self.gaps += 1
        if self.fails:
            raise RuntimeError("a listener's mistake")

    @property
    def deliveries(self) -> list[Delivery]:
        return [delivery for call in self.calls for delivery in call]

    def payloads(self, topic: bytes) -> list[bytes]:
        return [delivery.payload for delivery in self.deliveries if delivery.topic == topic]

    async def heard(self, topic: bytes, payload: bytes) -> None:
        """Wait until this was delivered."""
        await eventually(lambda: Delivery(topic, payload) in self.deliveries)
