"""The bus without a server: for tests, and for several replicas within one process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection

from chatapp.bus.outbox import Outbox
from chatapp.bus.port import BusListener, BusStatus, Delivery
from chatapp.errors import Unavailable

_logger = logging.getLogger(__name__)

_OUTBOX_PAYLOADS = 100_000
_OUTBOX_BYTES = 16 * 1024 * 1024


class MemoryHub:
    """What the buses of one process have in common; the counterpart of a Redis server."""

    def __init__(self) -> None:
        self._buses: list[MemoryBus] = []
        self._away = False

    @property
    def away(self) -> bool:
        """As if the server did not answer: nothing is carried, publishes wait, subscribes are not confirmed."""
        return self._away

    def go_away(self) -> None:
        """Begin an outage. What was subscribed stays wanted; what has been carried already still arrives."""
        self._away = True

    def come_back(self) -> None:
        """End an outage: what waited is published, and every bus that is subscribed to anything is told of a gap."""
        self._away = False
        for bus in list(self._buses):
            bus.restored()
        for bus in list(self._buses):
            bus.publish_waiting()

    def join(self, bus: MemoryBus) -> None:
        """From now on it can hear."""
        self._buses.append(bus)

    def leave(self, bus: MemoryBus) -> None:
        """It hears no more."""
        if bus in self._buses:
            self._buses.remove(bus)

    def carry(self, delivery: Delivery) -> None:
        """To every bus that is subscribed now."""
        for bus in self._buses:
            bus.arrived(delivery)


class MemoryBus:
    """A ``Bus`` of one ``MemoryHub``. Deliveries are handed over with the next turn of the event loop, together."""

    def __init__(self, hub: MemoryHub) -> None:
        self._hub = hub
        self._listener: BusListener | None = None
        self._closed = False
        self._topics: set[bytes] = set()
        self._arrived: list[Delivery] = []
        self._outbox = Outbox(limit_payloads=_OUTBOX_PAYLOADS, limit_bytes=_OUTBOX_BYTES)

    async def start(self, listener: BusListener) -> None:
        """See ``Bus.start``."""
        self._listener = listener
        self._hub.join(self)
        self.publish_waiting()

    def publish(self, topic: bytes, payload: bytes) -> None:
        """See ``Bus.publish``."""
        if not self._closed:
            self._outbox.add(Delivery(topic, payload))
            self.publish_waiting()

    async def subscribe(self, topics: Collection[bytes]) -> bool:
        """See ``Bus.subscribe``; while the hub is away the answer is False at once."""
        if self._closed:
            return False
        self._topics.update(topics)
        await asyncio.sleep(0)  # as with any server, others have their turn before the answer
        return not self._closed and not self._hub.away and self._topics.issuperset(topics)

    async def unsubscribe(self, topics: Collection[bytes]) -> None:
        """See ``Bus.unsubscribe``."""
        self._topics.difference_update(topics)

    async def ping(self) -> float:
        """See ``Bus.ping``."""
        if not self.status.connected:
            raise Unavailable
        return 0.0

    @property
    def status(self) -> BusStatus:
        """See ``Bus.status``."""
        connected = self._listener is not None and not self._hub.away
        return BusStatus(connected=connected, unconfirmed=len(self._outbox), topics=len(self._topics))

    async def flush(self, timeout_s: float) -> bool:
        """See ``Bus.flush``. There is nothing to wait for: an outage ends only when somebody ends it."""
        return not len(self._outbox)

    async def close(self) -> None:
        """See ``Bus.close``."""
        self._closed = True
        self._hub.leave(self)
        self._listener = None

    # -- for the hub --------------------------------------------------------------------------------------------------

    def publish_waiting(self) -> None:
        """Hand everything that waits to the hub, unless it is away."""
        while self._listener is not None and not self._hub.away and len(self._outbox):
            for delivery in self._outbox.head(most_payloads=512, most_bytes=_OUTBOX_BYTES):
                self._outbox.release(self._outbox.first + 1)
                self._hub.carry(delivery)

    def arrived(self, delivery: Delivery) -> None:
        """Keep it for the next turn of the loop, if it is of a topic that is subscribed."""
        if delivery.topic in self._topics:
            if not self._arrived:
                asyncio.get_running_loop().call_soon(self._hand_over)
            self._arrived.append(delivery)

    def restored(self) -> None:
        """An outage is over."""
        if self._listener is not None and self._topics:
            try:
                self._listener.on_gap()
            except Exception:
                _logger.exception("the listener of the bus failed on a gap")

    def _hand_over(self) -> None:
        arrived, self._arrived = self._arrived, []
        heard = [delivery for delivery in arrived if delivery.topic in self._topics]
        if heard and self._listener is not None:
            try:
                self._listener.on_deliveries(heard)
            except Exception:
                _logger.exception("the listener of the bus failed on deliveries")
