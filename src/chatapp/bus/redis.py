"""The bus over one Redis (or Valkey): classic pub/sub, at most once, with everything needed to notice what is lost.

Sentinel needs only another ``Dial`` (one that asks for the master first); a cluster needs a ``Publisher`` and a
``Subscriber`` for each node, with the sharded commands, behind a class beside this one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from functools import partial
from uuid import uuid4

from chatapp.bus.heartbeat import Heartbeat
from chatapp.bus.limits import RedisBusLimits, RedisBusStats
from chatapp.bus.port import BusListener, BusStatus
from chatapp.bus.publisher import Publisher
from chatapp.bus.resp import Dial, Endpoint, connect
from chatapp.bus.subscriber import Subscriber
from chatapp.errors import Unavailable

_logger = logging.getLogger(__name__)


class RedisBus:
    """A ``Bus``. Make it with ``from_url``; see the port for what each method promises.

    Every second it publishes a beat to a topic of its own. A beat that comes back proves the whole way; when none does
    for three seconds the subscriber connects again. So a Redis that is stopped, cut off or replaced is noticed also
    when no connection breaks.
    """

    def __init__(self, *, publisher_dial: Dial, subscriber_dial: Dial, limits: RedisBusLimits) -> None:
        self.stats = RedisBusStats()
        self._limits = limits
        self._own_topic = b"chatapp:bus:%s" % uuid4().hex.encode()
        self._heartbeat = Heartbeat(missed_limit=limits.heartbeats_missed)
        self._last_beat = -1
        self._publisher = Publisher(publisher_dial, limits, self.stats)
        self._subscriber = Subscriber(
            subscriber_dial,
            limits,
            self.stats,
            own_topic=self._own_topic,
            on_own=self._heartbeat.came_back,
            on_ready=self._send_beat,
            on_lost=self._heartbeat.restart,
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._publishing: asyncio.Task[None] | None = None
        self._closed = False

    @classmethod
    def from_url(cls, url: str, limits: RedisBusLimits | None = None) -> RedisBus:
        """``redis://[user][:password@]host[:port][/db]`` or ``rediss://…``; else ``ValueError``, not quoting it."""
        endpoint = Endpoint.from_url(url)
        limits = limits or RedisBusLimits()
        dial = partial(connect, endpoint, timeout_s=limits.connect_timeout_s)
        return cls(
            publisher_dial=partial(dial, name=b"chatapp-publisher"),
            subscriber_dial=partial(dial, name=b"chatapp-subscriber"),
            limits=limits,
        )

    async def start(self, listener: BusListener) -> None:
        """See ``Bus.start``."""
        self._publishing = asyncio.create_task(self._publisher.run(), name="bus publisher")
        self._tasks = [
            asyncio.create_task(self._subscriber.run(listener), name="bus subscriber"),
            asyncio.create_task(self._beat(), name="bus heartbeat"),
        ]

    def publish(self, topic: bytes, payload: bytes) -> None:
        """See ``Bus.publish``."""
        if self._closed:
            self.stats.dropped += 1
        else:
            self._publisher.publish(topic, payload)

    async def subscribe(self, topics: Collection[bytes]) -> bool:
        """See ``Bus.subscribe``."""
        return not self._closed and await self._subscriber.subscribe(topics)

    async def unsubscribe(self, topics: Collection[bytes]) -> None:
        """See ``Bus.unsubscribe``. Does not wait for Redis: nothing of these topics is handed over from now on."""
        self._subscriber.unsubscribe(topics)

    async def ping(self) -> float:
        """See ``Bus.ping``. The trip is that of a beat: through the outbox, Redis and the subscription."""
        clock = asyncio.get_running_loop().time
        began = clock()
        if not self._closed:
            self._send_beat()
            try:
                async with asyncio.timeout(self._limits.ping_timeout_s):
                    await self._heartbeat.wait_for_latest()
            except TimeoutError:
                pass
            else:
                return clock() - began
        raise Unavailable

    @property
    def status(self) -> BusStatus:
        """See ``Bus.status``."""
        return BusStatus(
            connected=self._heartbeat.alive and self._subscriber.ready,
            unconfirmed=len(self._publisher),
            topics=len(self._subscriber),
        )

    async def flush(self, timeout_s: float) -> bool:
        """See ``Bus.flush``."""
        return await self._publisher.flush(timeout_s)

    async def close(self) -> None:
        """See ``Bus.close``."""
        if self._closed:
            return
        self._closed = True
        await _end(self._tasks)
        if self._publishing is not None:
            if not await self._publisher.flush(self._limits.close_timeout_s):
                _logger.warning("the bus closes with %d payloads unpublished", len(self._publisher))
            await _end([self._publishing])

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._limits.heartbeat_interval_s)
            if self._subscriber.connected and self._heartbeat.tick():
                self._subscriber.drop(f"{self._limits.heartbeats_missed} heartbeats did not come back")
            self._send_beat()

    def _send_beat(self) -> None:
        """Unless the last one is still waiting: beats must not fill the outbox while Redis is away."""
        if self._publisher.has_left(self._last_beat):
            self._last_beat = self._publisher.publish(self._own_topic, self._heartbeat.next_beat())


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
