"""Counts that expire: the port, and those of one replica."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Counts(Protocol):
    """Numbers by key, each forgotten some time after it was begun. Every method may raise ``CountsAway``."""

    async def add(self, key: str, expiry_s: int, amount: int = 1) -> int:
        """Add to a count, and answer what it is then. ``expiry_s`` holds when this begins it."""

    async def left_s(self, key: str) -> float:
        """Seconds until this count is forgotten; 0 when there is none."""

    async def clear(self, key: str) -> None:
        """Forget a count."""


class CountsAway(Exception):
    """They could not be asked in time. Whether something was counted is not known."""


class LocalCounts:
    """Those of this replica alone; at most ``limit`` of them, then the oldest are forgotten."""

    def __init__(self, clock: Callable[[], float], limit: int = 100_000) -> None:
        """``clock``: seconds."""
        self._clock = clock
        self._limit = limit
        self._counts: dict[str, tuple[int, float]] = {}

    def __len__(self) -> int:
        return len(self._counts)

    async def add(self, key: str, expiry_s: int, amount: int = 1) -> int:
        """See ``Counts.add``."""
        now = self._clock()
        count, until = self._counts.get(key, (0, 0.0))
        if until <= now:
            self._counts.pop(key, None)  # it is begun again, as the youngest
            count, until = 0, now + expiry_s
            if len(self._counts) >= self._limit:
                self._make_room()
        self._counts[key] = count + amount, until
        return count + amount

    async def left_s(self, key: str) -> float:
        """See ``Counts.left_s``."""
        _, until = self._counts.get(key, (0, 0.0))
        return max(0.0, until - self._clock())

    async def clear(self, key: str) -> None:
        """See ``Counts.clear``."""
        self._counts.pop(key, None)

    def prune(self) -> None:
        """Free what is forgotten. Call it every minute or so."""
        now = self._clock()
        for key in [key for key, (_, until) in self._counts.items() if until <= now]:
            del self._counts[key]

    def _make_room(self) -> None:
        self.prune()
        for key in list(self._counts)[: max(0, len(self._counts) - self._limit * 9 // 10)]:
            del self._counts[key]
