"""Who may connect now, and when the others should come back. Without I/O.

After a deploy thousands come at once. A bounded number of them wait to be started; the rest get a time to come back at,
further away the more have been told so: as if they stood in a queue that moves at ``RETURNS_PER_S``.
"""

from __future__ import annotations

import random

from msgspec import Struct

from chatapp.errors import Overloaded, ReplicaFull

RETURNS_PER_S = 1000
"""How many are asked back within a second: somewhat less than one core starts (docs/benchmarks.md)."""
LONGEST_RETURN_S = 30
FULL_RETURN_S = 10


class AdmissionStats(Struct, kw_only=True):
    """Counters since the start; they only grow."""

    overloaded: int = 0
    """Handshakes that were asked to come back because too many waited."""
    full: int = 0
    """Handshakes that were refused because there were ``limits.connections`` sockets."""


class Admission:
    """Of one replica. ``now``: seconds, monotonic."""

    def __init__(self, connections: int, connecting: int) -> None:
        """How many sockets there may be, and how many of them may wait for their start."""
        self._connections = connections
        self._connecting = connecting
        self._queue = 0.0
        self._moved_at = 0.0
        self.stats = AdmissionStats()

    def check(self, connections: int, connecting: int, now: float) -> None:
        """Raise ``Overloaded`` or ``ReplicaFull`` when there is no room for one more."""
        if connecting >= self._connecting:
            self.stats.overloaded += 1
            raise Overloaded(self._return_s(now))
        if connections >= self._connections:
            self.stats.full += 1
            raise ReplicaFull(self._return_s(now) + random.randint(0, FULL_RETURN_S))  # noqa: S311 (spreads load)

    def _return_s(self, now: float) -> float:
        """Whole seconds until the queue of those who were told so has passed, rounded up or down at random."""
        self._queue = max(0.0, self._queue - (now - self._moved_at) * RETURNS_PER_S) + 1
        self._moved_at = now
        return float(min(LONGEST_RETURN_S, 1 + int(self._queue / RETURNS_PER_S + random.random())))  # noqa: S311
