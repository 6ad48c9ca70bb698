"""What parts count in, for whoever reads it later: plain numbers, belonging to one event loop, without locks."""

from __future__ import annotations

from bisect import bisect_left

from msgspec import Struct, field

LATENCIES_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Histogram(Struct):
    """Observations in fixed buckets; observing one takes about 150 ns."""

    bounds: tuple[float, ...] = LATENCIES_S
    """Upper bounds, inclusive and ascending; what is above the last is in a bucket of its own."""
    counts: list[int] = field(default_factory=list)
    """One for each bound, and one for the rest; not cumulative."""
    total: float = 0.0
    """The sum of what was observed."""

    def __post_init__(self) -> None:
        if not self.counts:
            self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        """Count one."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        """How many were observed."""
        return sum(self.counts)


def sizes() -> Histogram:
    """Of numbers of things."""
    return Histogram(SIZES)
