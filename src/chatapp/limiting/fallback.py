"""Counts in Redis while it answers, and this replica's own while it does not."""

from __future__ import annotations

from contextlib import suppress

from chatapp.limiting.counts import Counts, CountsAway


class FallbackCounts:
    """``Counts`` that never raises. What is added is added here too, so that something is known when Redis goes."""

    def __init__(self, shared: Counts | None, local: Counts) -> None:
        self._shared = shared
        self._local = local

    async def add(self, key: str, expiry_s: int, amount: int = 1) -> int:
        """See ``Counts.add``."""
        here = await self._local.add(key, expiry_s, amount)
        if self._shared is None:
            return here
        try:
            return await self._shared.add(key, expiry_s, amount)
        except CountsAway:
            return here

    async def left_s(self, key: str) -> float:
        """See ``Counts.left_s``."""
        if self._shared is not None:
            with suppress(CountsAway):
                return await self._shared.left_s(key)
        return await self._local.left_s(key)

    async def clear(self, key: str) -> None:
        """See ``Counts.clear``."""
        await self._local.clear(key)
        if self._shared is not None:
            with suppress(CountsAway):
                await self._shared.clear(key)
