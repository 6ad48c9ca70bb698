"""The bus over one Redis (or Valkey), or over the master of a Sentinel group: classic pub/sub, at most once.

``cluster.py`` has the bus over a cluster.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Sequence
from functools import partial
from typing import Any
from uuid import uuid4

from chatapp.bus.limits import RedisBusLimits, RedisBusStats
from chatapp.bus.line import Line
from chatapp.bus.port import BusListener, BusStatus
from chatapp.bus.resp import Dial, Endpoint, connect
from chatapp.bus.sentinel import Sentinels
from chatapp.bus.verbs import CLASSIC
from chatapp.errors import Unavailable

_logger = logging.getLogger(__name__)

PUBLISHER, SUBSCRIBER = b"chatapp-publisher", b"chatapp-subscriber"
"""What ``CLIENT LIST`` shows."""


class RedisBus:
    """A ``Bus``. Make it with ``open_bus``, ``from_url`` or ``from_sentinels``; the port says what each method does.

    The order of publishing holds across all topics.
    """

    def __init__(
        self,
        *,
        publisher_dial: Dial,
        subscriber_dial: Dial,
        limits: RedisBusLimits,
        watch: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        """``watch`` runs from ``start`` to ``close``."""
        self.stats = RedisBusStats()
        self._limits = limits
        self._line = Line(
            publisher_dial=publisher_dial,
            subscriber_dial=subscriber_dial,
            own_topic=b"chatapp:bus:%s" % uuid4().hex.encode(),
            limits=limits,
            stats=self.stats,
            verbs=CLASSIC,
        )
        self._watch = watch
        self._watching: asyncio.Task[None] | None = None
        self._closed = False

    @classmethod
    def from_url(cls, url: str, limits: RedisBusLimits | None = None) -> RedisBus:
        """``redis://[user][:password@]host[:port][/db]`` or ``rediss://…``; else ``ValueError``, not quoting it."""
        endpoint = Endpoint.from_url(url)
        limits = limits or RedisBusLimits()
        dial = partial(connect, endpoint, timeout_s=limits.connect_timeout_s)
        return cls(
            publisher_dial=partial(dial, name=PUBLISHER),
            subscriber_dial=partial(dial, name=SUBSCRIBER),
            limits=limits,
        )

    @classmethod
    def from_sentinels(
        cls, sentinels: Sequence[Endpoint], master: str, server: Endpoint, limits: RedisBusLimits | None = None
    ) -> RedisBus:
        """The server that the Sentinels know as ``master``, let in as ``server`` says."""
        limits = limits or RedisBusLimits()
        group = Sentinels(
            sentinels,
            master,
            server,
            timeout_s=limits.connect_timeout_s,
            interval_s=limits.heartbeat_interval_s,
        )
        return cls(
            publisher_dial=partial(group.dial, PUBLISHER),
            subscriber_dial=partial(group.dial, SUBSCRIBER),
            limits=limits,
            watch=group.watch,
        )

    async def start(self, listener: BusListener) -> None:
        """See ``Bus.start``."""
        self._line.start(listener)
        if self._watch is not None:
            self._watching = asyncio.create_task(self._watch(), name="bus watch")

    def publish(self, topic: bytes, payload: bytes) -> None:
        """See ``Bus.publish``."""
        if self._closed:
            self.stats.dropped += 1
        else:
            self._line.publisher.publish(topic, payload)

    async def subscribe(self, topics: Collection[bytes]) -> bool:
        """See ``Bus.subscribe``."""
        return not self._closed and await self._line.subscriber.subscribe(topics)

    async def unsubscribe(self, topics: Collection[bytes]) -> None:
        """See ``Bus.unsubscribe``. Does not wait for Redis: nothing of these topics is handed over from now on."""
        self._line.subscriber.unsubscribe(topics)

    async def ping(self) -> float:
        """See ``Bus.ping``. The trip is that of a beat: through the outbox, Redis and the subscription."""
        if self._closed:
            raise Unavailable
        clock = asyncio.get_running_loop().time
        began = clock()
        await self._line.ping()
        return clock() - began

    @property
    def status(self) -> BusStatus:
        """See ``Bus.status``."""
        return BusStatus(
            connected=self._line.alive,
            unconfirmed=len(self._line.publisher),
            topics=len(self._line.subscriber),
        )

    async def flush(self, timeout_s: float) -> bool:
        """See ``Bus.flush``."""
        return await self._line.publisher.flush(timeout_s)

    async def close(self) -> None:
        """See ``Bus.close``."""
        if self._closed:
            return
        self._closed = True
        await self._line.stop_hearing()
        if not await self._line.publisher.flush(self._limits.close_timeout_s):
            _logger.warning("the bus closes with %d payloads unpublished", len(self._line.publisher))
        await self._line.end()
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
