"""What every bus can do. One test suite runs against all implementations (``tests/bus/test_bus.py``)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from msgspec import Struct


class Delivery(Struct, frozen=True, gc=False):
    """One payload on a topic. It holds only bytes, so the garbage collector need not look at it."""

    topic: bytes
    payload: bytes


class BusListener(Protocol):
    """Who hears the bus. Both are called on the event loop and must return soon; what they raise is logged."""

    def on_deliveries(self, deliveries: Sequence[Delivery]) -> None:
        """What was read from the connection at once, in the order of arrival.

        Of a topic that is being subscribed, deliveries may come before ``subscribe`` has returned; of one that was
        unsubscribed none come after the call. A payload may come twice.
        """

    def on_gap(self) -> None:
        """The subscription was (or may have been) interrupted and is whole again: anything may be missing."""


class BusStatus(Struct, frozen=True):
    """How the bus does now."""

    connected: bool
    """The subscription is alive: a heartbeat came back within the last seconds."""
    unconfirmed: int
    """Payloads that wait for being published (again)."""
    topics: int
    """How many topics this replica is subscribed to."""


class Bus(Protocol):
    """Publish and subscribe, at most once, by topic. No method blocks the loop; all are safe to call while away."""

    async def start(self, listener: BusListener) -> None:
        """Begin to connect and to keep connected. Returns at once also when the bus is away.

        Call it once, before anything else; ``close`` ends what it started.
        """

    def publish(self, topic: bytes, payload: bytes) -> None:
        """Hand a payload over. It leaves soon, together with others that wait.

        Each topic's payloads leave in the order of these calls; those of different topics too, unless the bus is a
        cluster. What is not confirmed is kept, in that order and bounded, and sent again (so it may arrive twice); past
        the bound the oldest is forgotten and counted. Never raises, never waits.
        """

    async def subscribe(self, topics: Collection[bytes]) -> bool:
        """Hear these topics from now on. True once the bus has confirmed all of them.

        False when it could not within a few seconds: they are remembered, and subscribed as soon as the bus is back,
        with ``on_gap`` after that. Also False when one of them was unsubscribed meanwhile; then nothing follows. Of
        calls that race each other about a topic, the last one counts, whichever of them returns first.
        """

    async def unsubscribe(self, topics: Collection[bytes]) -> None:
        """Hear these topics no more. Never fails; while away they are just forgotten."""

    async def ping(self) -> float:
        """Seconds for one round trip. Raises ``Unavailable`` when there is no answer within 2 s."""

    @property
    def status(self) -> BusStatus:
        """Cheap; may be asked often."""

    async def flush(self, timeout_s: float) -> bool:
        """Wait until everything handed over so far was confirmed. False when it was not in time, or forgotten."""

    async def close(self) -> None:
        """End: stop hearing, try once more to publish what waits (at most 1 s), close the connections.

        May be called twice. After it nothing is published or heard, and ``subscribe`` answers False.
        """
