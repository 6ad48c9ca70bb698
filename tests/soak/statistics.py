"""Whether a series grows, by medians: a single spike says nothing, a slope or a step that stays does."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import median

from msgspec import Struct

_MOST = 400
_SURE = 3.0
"""So many standard errors must a growth be away from none."""


class Growth(Struct, frozen=True):
    """Of one series over a window. Shares are of its median (0.05: five in a hundred)."""

    median: float
    slope_share: float
    """The Theil-Sen slope (the median of the slopes between all pairs), times the window's length."""
    step_share: float
    """The median of the last quarter, less that of the first."""
    noise_share: float
    """The standard error of such a difference, from how neighbours differ: neither a slope nor a step adds to it."""

    @property
    def share(self) -> float:
        """The larger of the two growths."""
        return max(self.slope_share, self.step_share)

    def exceeds(self, bound_share: float, allowance: float = 0.0) -> bool:
        """Whether it grows by more than the bound, by more than ``allowance`` (in its unit), and not by chance."""
        least = max(bound_share, _SURE * self.noise_share)
        return self.share > least and self.share * self.median > allowance


def growth(times: Sequence[float], values: Sequence[float]) -> Growth:
    """Of a series in the order of time. O(n²) up to 400 values; of more, medians of neighbours are taken first.

    Raises ``ValueError`` for fewer than four values: nothing can be said of them.
    """
    if len(values) < 4:
        raise ValueError(f"{len(values)} samples say nothing")
    middle = median(values)
    scale = abs(middle) or 1.0
    quarter = max(1, len(values) // 4)
    step = median(values[-quarter:]) - median(values[:quarter])
    steps = [abs(after - before) for before, after in pairwise(values)]
    # 1.4826: from a median of deviations to a normal one; a difference of neighbours, 2**0.5 of one; a median, 1.25.
    deviation = 1.4826 * median(steps) / 2**0.5
    error = 1.25 * deviation * (2 / quarter) ** 0.5
    slope = theil_sen(*_thinned(times, values)) * (times[-1] - times[0])
    return Growth(middle, slope / scale, step / scale, error / scale)


def theil_sen(times: Sequence[float], values: Sequence[float]) -> float:
    """The median slope, in values by second."""
    points = list(zip(times, values, strict=True))
    return median((y2 - y1) / (x2 - x1) for at, (x1, y1) in enumerate(points) for x2, y2 in points[at + 1 :])


def _thinned(times: Sequence[float], values: Sequence[float]) -> tuple[Sequence[float], Sequence[float]]:
    size = -(-len(values) // _MOST)
    if size == 1:
        return times, values
    starts = range(0, len(values), size)
    return [median(times[at : at + size]) for at in starts], [median(values[at : at + size]) for at in starts]


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of all is not above; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def bucket_quantile(counts: Sequence[tuple[float, float]], share: float) -> float:
    """As Prometheus' ``histogram_quantile``: ``counts`` are cumulative, by upper bound, the last one infinite."""
    total = counts[-1][1] if counts else 0.0
    if not total:
        return 0.0
    rank, low, below = share * total, 0.0, 0.0
    for bound, count in counts:
        if count >= rank:
            return low if bound == float("inf") else low + (bound - low) * (rank - below) / ((count - below) or 1.0)
        low, below = bound, count
    return low
