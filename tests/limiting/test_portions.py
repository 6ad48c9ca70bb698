"""Telling Redis, when its answers are lost."""

from __future__ import annotations

import asyncio
from typing import cast

from chatapp.limiting.allowances import Allowance
from chatapp.limiting.counts import CountsAway
from chatapp.limiting.portions import Portions, Teller
from chatapp.limiting.shared import SharedCounts

LIMIT = 100


class Unanswered:
    """Counts what it is told, and never says so."""

    available = True

    def __init__(self) -> None:
        self.total = 0
        self.asked = asyncio.Event()

    async def add(self, key: str, expiry_s: int, amount: int = 1) -> int:
        self.total += amount
        self.asked.set()
        raise CountsAway


async def test_what_was_perhaps_told_is_not_told_again() -> None:
    counts = Unanswered()
    teller = Teller(cast("SharedCounts", counts))
    sends = Portions("send", Allowance(LIMIT, 60), teller, clock=lambda: 600.0)
    telling = asyncio.create_task(teller.run())
    try:
        for _ in range(LIMIT):
            assert sends.take("ada") == 0
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await counts.asked.wait()
        assert counts.total <= LIMIT
        assert sends.take("ada") > 0
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)


def test_whose_acts_no_longer_count_is_forgotten() -> None:
    now = 600.0
    sends = Portions("send", Allowance(LIMIT, 60), Teller(None), clock=lambda: now)
    sends.take("ada")
    now += 60  # what was done in the minute before still counts in this one
    sends.take("bob")
    sends.prune()
    assert len(sends) == 2
    now += 61
    sends.prune()
    assert len(sends) == 1
