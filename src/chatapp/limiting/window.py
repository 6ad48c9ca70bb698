"""A count that slides with time, without I/O."""

from __future__ import annotations

from chatapp.limiting.allowances import Allowance


class Window:
    """How often somebody did something lately: here, and as far as known at the other replicas.

    Periods are those of the wall clock, so that replicas mean the same ones. The past period counts for as much as the
    sliding window still covers of it, as if its acts had been spread evenly.
    """

    __slots__ = ("asked", "ends", "fresh", "past", "period", "shared")

    def __init__(self, allowance: Allowance, now: float) -> None:
        """``now``: seconds of the wall clock."""
        self.period = int(now // allowance.period_s)
        self.ends = float((self.period + 1) * allowance.period_s)
        self.past = 0
        """Acts in the period before."""
        self.shared = 0
        """Acts in this period that all replicas have told of, this one included."""
        self.fresh = 0
        """Acts in this period that only this replica knows of."""
        self.asked = False
        """``fresh`` is about to be told."""

    def take(self, allowance: Allowance, now: float) -> float:
        """Count one act: 0. Or the seconds until there is room for it, and nothing was counted."""
        if now >= self.ends:
            self._turn(allowance, now)
        count = self.shared + self.fresh
        if self.past:
            room = allowance.count - count - self.past * (self.ends - now) / allowance.period_s
        else:
            room = allowance.count - count
        if room < 1:
            return self._wait_s(allowance, now)
        self.fresh += 1
        return 0.0

    def give_back(self) -> None:
        """Forget one act."""
        if self.fresh > 0:
            self.fresh -= 1

    def told(self, period: int, amount: int, total: int) -> None:
        """``amount`` of ``fresh`` was added to what everybody knows, and made it ``total``."""
        self.asked = False
        if period == self.period:
            self.fresh = max(0, self.fresh - amount)
            self.shared = total

    def _turn(self, allowance: Allowance, now: float) -> None:
        period = int(now // allowance.period_s)
        self.past = self.shared + self.fresh if period == self.period + 1 else 0
        self.period, self.shared, self.fresh = period, 0, 0
        self.ends = float((period + 1) * allowance.period_s)

    def _wait_s(self, allowance: Allowance, now: float) -> float:
        """Until the part of the past that still counts leaves room for one."""
        count, period_s = self.shared + self.fresh, allowance.period_s
        left_s = self.ends - now
        if count < allowance.count:
            wait_s = left_s - (allowance.count - 1 - count) * period_s / max(1, self.past)
        else:
            wait_s = left_s + period_s * (1 - min(1.0, (allowance.count - 1) / count))
        return max(0.05, wait_s)
