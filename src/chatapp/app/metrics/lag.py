"""How late the event loop is."""

from __future__ import annotations

import asyncio
from time import monotonic

from chatapp.counting import Histogram

TICK_S = 0.1
WINDOW_S = 15.0


class LoopLag:
    """Sleeps, and looks how much later than asked for it wakes. One for each replica; ``run`` is its task."""

    def __init__(self) -> None:
        self.late_s = Histogram()
        self._window_ends = 0.0
        self._worst_before = 0.0
        self._worst_now = 0.0

    async def run(self) -> None:
        """Tick, for as long as the replica lives."""
        while True:
            due = monotonic() + TICK_S
            await asyncio.sleep(TICK_S)
            now = monotonic()
            self.observe(max(0.0, now - due), now)

    def observe(self, late_s: float, now: float) -> None:
        """The loop was late by this. ``now``: seconds, monotonic."""
        self.late_s.observe(late_s)
        if now >= self._window_ends:
            self._worst_before, self._worst_now = self._worst_now, 0.0
            self._window_ends = now + WINDOW_S
        self._worst_now = max(self._worst_now, late_s)

    @property
    def worst_s(self) -> float:
        """The longest of the last 15 to 30 seconds, however many ask."""
        return max(self._worst_before, self._worst_now)
