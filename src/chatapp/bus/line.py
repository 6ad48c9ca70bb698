"""The way to one Redis and back: a publisher, a subscriber, and a heartbeat that goes round through both."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from time import monotonic

from chatapp.bus.heartbeat import Heartbeat
from chatapp.bus.limits import RedisBusLimits, RedisBusStats
from chatapp.bus.port import BusListener
from chatapp.bus.publisher import Publisher
from chatapp.bus.resp import Dial
from chatapp.bus.subscriber import TAKEN_AWAY, Subscriber
from chatapp.bus.verbs import Verbs
from chatapp.errors import Unavailable

_logger = logging.getLogger(__name__)


class Line:
    """Every second it publishes a beat to a topic of its own.

    A beat that comes back proves the whole way; when none does for three seconds both connections are opened anew. So
    a Redis that is stopped, cut off or replaced is noticed also when no connection breaks.

    ``on_trouble`` is told whenever it may be that this Redis is the wrong one to ask; without it, a topic that cannot
    be subscribed ends the subscriber's connection.
    """

    def __init__(
        self,
        *,
        publisher_dial: Dial,
        subscriber_dial: Dial,
        own_topic: bytes,
        limits: RedisBusLimits,
        stats: RedisBusStats,
        verbs: Verbs,
        name: str = "",
        on_trouble: Callable[[str], None] | None = None,
    ) -> None:
        self.own_topic = own_topic
        self._limits = limits
        self._stats = stats
        self._on_trouble = on_trouble
        self._heartbeat = Heartbeat(missed_limit=limits.heartbeats_missed)
        self._last_beat = -1
        self._beat_left_at: float | None = None
        self.publisher = Publisher(
            publisher_dial, limits, stats, command=verbs.publish, name=name, on_problem=self._trouble
        )
        self.subscriber = Subscriber(
            subscriber_dial,
            limits,
            stats,
            own_topic=own_topic,
            on_own=self._beat_came_back,
            on_ready=self._send_beat,
            on_lost=self._lost,
            on_refused=self._refused,
            verbs=verbs,
            name=name,
        )
        self._hearing: list[asyncio.Task[None]] = []
        self._publishing: list[asyncio.Task[None]] = []

    def start(self, listener: BusListener) -> None:
        """Connect, and keep connected until ``end``."""
        self._publishing = [asyncio.create_task(self.publisher.run(), name="bus publisher")]
        self._hearing = [
            asyncio.create_task(self.subscriber.run(listener), name="bus subscriber"),
            asyncio.create_task(self._beat(), name="bus heartbeat"),
        ]

    @property
    def alive(self) -> bool:
        """A beat came back over the present connections within the last seconds."""
        return self._heartbeat.alive and self.subscriber.ready

    @property
    def settled(self) -> bool:
        """Alive, and able to publish."""
        return self.alive and self.publisher.connected

    async def ping(self) -> None:
        """Until a beat has made the trip: through the outbox, Redis and the subscription. Raises ``Unavailable``."""
        self._send_beat()
        try:
            async with asyncio.timeout(self._limits.ping_timeout_s):
                await self._heartbeat.wait_for_latest()
        except TimeoutError:
            raise Unavailable from None

    async def stop_hearing(self) -> None:
        """End the subscriber; what waits is still published."""
        self._on_trouble = None
        await _end(self._hearing)

    async def end(self) -> None:
        """End everything. What still waits is not published."""
        await self.stop_hearing()
        await _end(self._publishing)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._limits.heartbeat_interval_s)
            if self.subscriber.connected and self._heartbeat.tick():
                reason = f"{self._limits.heartbeats_missed} heartbeats did not come back"
                self.subscriber.drop(reason)
                self.publisher.drop(reason)
            self._send_beat()

    def _send_beat(self) -> None:
        """Unless the last one is still waiting: beats must not fill the outbox while Redis is away."""
        if self.publisher.has_left(self._last_beat):
            self._beat_left_at = monotonic()
            self._last_beat = self.publisher.publish(self.own_topic, self._heartbeat.next_beat())

    def _beat_came_back(self, payload: bytes) -> None:
        self._heartbeat.came_back(payload)
        if self._beat_left_at is not None:
            self._stats.round_trip_s.observe(monotonic() - self._beat_left_at)
            self._beat_left_at = None

    def _lost(self) -> None:
        self._heartbeat.restart()
        self._trouble("the subscription was lost")

    def _refused(self, why: str) -> None:
        if self._on_trouble is None:
            self.subscriber.drop(f"a topic was refused: {why}")
        else:
            moved = why.startswith("MOVED") or why == TAKEN_AWAY
            _logger.log(logging.INFO if moved else logging.WARNING, "bus: topics are not heard: %s", why)
            self._on_trouble(why)

    def _trouble(self, why: str) -> None:
        if self._on_trouble is not None:
            self._on_trouble(why)


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
