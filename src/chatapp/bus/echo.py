"""What a replica publishes it hears at once, without the way over Redis; the copy that comes back is dropped.

Its own clients are served while Redis is away, and what a commit causes on one connection (the ack and the event)
leaves in one write. Every payload on the wire begins with the publisher's own eight bytes.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Collection, Sequence

from chatapp.bus.port import Bus, BusListener, BusStatus, Delivery

_log = logging.getLogger(__name__)

_MARK_BYTES = 8


class EchoBus:
    """A ``Bus`` around another one; all replicas must use it, or none."""

    def __init__(self, inner: Bus) -> None:
        self._inner = inner
        self._mark = secrets.token_bytes(_MARK_BYTES)
        self._topics: set[bytes] = set()
        self._listener: BusListener | None = None
        self._echoes: list[Delivery] = []

    async def start(self, listener: BusListener) -> None:
        """See ``Bus``."""
        self._listener = listener
        await self._inner.start(_Unmarked(listener, self._mark))

    def publish(self, topic: bytes, payload: bytes) -> None:
        """See ``Bus``. This replica hears it at the end of the present turn of the loop."""
        self._inner.publish(topic, self._mark + payload)
        if topic in self._topics:
            if not self._echoes:
                asyncio.get_running_loop().call_soon(self._hear)
            self._echoes.append(Delivery(topic, payload))

    def _hear(self) -> None:
        echoes, self._echoes = self._echoes, []
        if self._listener is None:
            return
        try:
            self._listener.on_deliveries([echo for echo in echoes if echo.topic in self._topics])
        except Exception:  # noqa: BLE001 (as every bus: a listener's mistake ends nothing)
            _log.exception("the listener of the bus failed")

    async def subscribe(self, topics: Collection[bytes]) -> bool:
        """See ``Bus``."""
        self._topics.update(topics)
        return await self._inner.subscribe(topics)

    async def unsubscribe(self, topics: Collection[bytes]) -> None:
        """See ``Bus``."""
        self._topics.difference_update(topics)
        await self._inner.unsubscribe(topics)

    async def ping(self) -> float:
        """See ``Bus``."""
        return await self._inner.ping()

    @property
    def status(self) -> BusStatus:
        """See ``Bus``."""
        return self._inner.status

    async def flush(self, timeout_s: float) -> bool:
        """See ``Bus``."""
        return await self._inner.flush(timeout_s)

    async def close(self) -> None:
        """See ``Bus``."""
        self._listener = None
        await self._inner.close()


class _Unmarked:
    """Takes the marks off, and drops what this replica has heard already."""

    def __init__(self, listener: BusListener, mark: bytes) -> None:
        self._listener = listener
        self._mark = mark

    def on_deliveries(self, deliveries: Sequence[Delivery]) -> None:
        mark = self._mark
        foreign = [
            Delivery(delivery.topic, delivery.payload[_MARK_BYTES:])
            for delivery in deliveries
            if not delivery.payload.startswith(mark)
        ]
        if foreign:
            self._listener.on_deliveries(foreign)

    def on_gap(self) -> None:
        self._listener.on_gap()
