"""The heartbeat: whoever is silent for one interval is pinged, whoever stays silent for another is closed with 4408.

Connections are looked at in slices, so that thousands of pings do not leave at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from chatapp.gateway.connection import Connection
from chatapp.gateway.gateway import Gateway
from chatapp.gateway.hub import Hub
from chatapp.protocol.codes import CloseCode

TICK_S = 0.5


class Heartbeat:
    """One for each replica; ``run`` is its task. Also closes sockets whose tokens end."""

    def __init__(self, hub: Hub, gateway: Gateway, clock: Callable[[], float], interval_s: float) -> None:
        self._hub = hub
        self._gateway = gateway
        self._clock = clock
        self._interval_s = interval_s
        self._round: list[Connection] = []
        self.lag_s = 0.0
        """How late the last tick was: how long the event loop was busy."""

    async def run(self) -> None:
        """Tick, for as long as the replica lives."""
        due = self._clock() + TICK_S
        while True:
            await asyncio.sleep(max(0.0, due - self._clock()))
            now = self._clock()
            self.lag_s = max(0.0, now - due)
            # A loop that was busy could not hear pongs either: nobody is silent because of us.
            self.tick(now, grace_s=self.lag_s)
            due = now + TICK_S

    def tick(self, now: float, grace_s: float = 0.0) -> None:
        """Look at the next slice of connections: all of them within half an interval."""
        self._gateway.expire()
        if not self._round:
            self._round = list(self._hub.connections)
        size = max(1, int(len(self._hub.connections) * TICK_S / (self._interval_s / 2)) + 1)
        for connection in self._round[-size:]:
            self._look_at(connection, now - grace_s)
        del self._round[-size:]

    def _look_at(self, connection: Connection, now: float) -> None:
        if connection.closing or not connection.transport.hears_pongs:
            return
        silence = now - connection.last_heard
        if silence > 2 * self._interval_s:
            connection.close(CloseCode.NO_HEARTBEAT, "no heartbeat")
        elif silence > self._interval_s / 2:
            connection.transport.ping()
