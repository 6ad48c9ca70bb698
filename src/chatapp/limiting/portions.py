"""Counting what happens often: here and at once, told to Redis in portions and in the background.

Nobody waits for Redis. A replica tells of an act when a tenth of what is allowed has come together, and learns with the
same question what all others have told. So whoever stays below that tenth costs Redis nothing, and together the
replicas admit too much by at most a tenth for each further replica (plus what comes while a question is under way).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from chatapp.limiting.allowances import Allowance
from chatapp.limiting.counts import CountsAway
from chatapp.limiting.shared import SharedCounts
from chatapp.limiting.window import Window

PORTIONS = 10
"""In how many portions an allowance is told."""
WINDOWS = 200_000
"""Of one kind; past it those that were begun first are forgotten."""

Who = int | str


class Portions:
    """One kind of act."""

    def __init__(self, kind: str, allowance: Allowance, teller: Teller, clock: Callable[[], float] = time.time) -> None:
        """``clock``: seconds of the wall clock, for replicas must agree on it."""
        self.kind = kind
        self.allowance = allowance
        self._teller = teller
        self._clock = clock
        self._portion = max(1, allowance.count // PORTIONS)
        self._windows: dict[Who, Window] = {}

    def __len__(self) -> int:
        return len(self._windows)

    def take(self, who: Who) -> float:
        """Count one act: 0. Or the seconds until there is room for it, and nothing was counted."""
        now = self._clock()
        window = self._windows.get(who)
        if window is None:
            window = self._begin(who, now)
        wait_s = window.take(self.allowance, now)
        if window.fresh >= self._portion and not window.asked:
            self._teller.ask(self, who, window)
        return wait_s

    def prune(self) -> None:
        """Forget whose acts no longer count. Call it every minute or so."""
        until = self._clock() - self.allowance.period_s
        old = [who for who, window in self._windows.items() if window.ends < until]
        for who in old:
            del self._windows[who]

    def _begin(self, who: Who, now: float) -> Window:
        if len(self._windows) >= WINDOWS:
            for oldest in list(self._windows)[: WINDOWS // 10]:
                del self._windows[oldest]
        window = self._windows[who] = Window(self.allowance, now)
        return window


class Teller:
    """Tells Redis of portions, one after the other. ``run`` is its life; without it all counts stay this replica's."""

    def __init__(self, counts: SharedCounts | None) -> None:
        self.told = 0
        self._counts = counts
        self._due: deque[tuple[Portions, Who, Window]] = deque()
        self._wake = asyncio.Event()

    def ask(self, kind: Portions, who: Who, window: Window) -> None:
        """Tell of this window soon, unless Redis is away. At most once at a time, so the queue is bounded."""
        if self._counts is not None and self._counts.available:
            window.asked = True
            self._due.append((kind, who, window))
            self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._due:
                await self._tell(*self._due.popleft())

    async def _tell(self, kind: Portions, who: Who, window: Window) -> None:
        period, amount = window.period, window.fresh
        key = f"{kind.kind}:{who}:{period}"
        assert self._counts is not None
        try:
            total = await self._counts.add(key, 2 * kind.allowance.period_s, amount)
        except CountsAway:
            # Perhaps it was counted, and only the answer is missing: telling it again could count it twice.
            window.told(period, amount, window.shared + amount)
            return
        self.told += 1
        window.told(period, amount, total)
