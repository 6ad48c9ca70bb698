"""What a run must be to have passed. Pure: samples in, lines of a table out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

from msgspec import Struct

from chatapp.limiting.opening import AT_ONCE
from tests.soak.sample import ReplicaSample, Sample
from tests.soak.statistics import growth, quantile

WARM_UP_S = 120.0
WARM_UP_SHARE = 0.2
GROWTH_SHARE = 0.05
LATENCY_FACTOR = 1.5
LATENCY_ALLOWANCE_S = 0.02
CLIENTS_OF_A_REPLICA = AT_ONCE + 4 + 2
"""Connections to Redis: for rate limits, for all else that asks, and the two of the bus."""
_MIB = 1 << 20


class Line(Struct, frozen=True):
    """One thing that was held against a bound."""

    what: str
    found: str
    bound: str
    ok: bool


class _Series(Struct, frozen=True):
    name: str
    read: Callable[[ReplicaSample], float]
    unit: float
    suffix: str
    allowance: float
    """So much may it grow in any case: a few of a small number are not five in a hundred."""


_SERIES = (
    _Series("memory (RSS)", lambda r: r.rss_bytes, _MIB, " MiB", 0),
    _Series("memory (PSS)", lambda r: r.pss_bytes, _MIB, " MiB", 0),
    _Series("file descriptors", lambda r: r.fds, 1, "", 5),
    _Series("tasks", lambda r: r.tasks, 1, "", 10),
    _Series("threads", lambda r: r.threads, 1, "", 2),
)


def warm_up_s(seconds: float) -> float:
    """What is left out at the start: two minutes, or a fifth of a run shorter than ten."""
    return min(WARM_UP_S, WARM_UP_SHARE * seconds)


def judge(samples: Sequence[Sample]) -> list[Line]:
    """Of the samples' own growth; what the load saw is not in it. Raises ``ValueError`` for a run too short."""
    seconds = samples[-1].at_s
    warm = [sample for sample in samples if sample.at_s >= warm_up_s(seconds)]
    half = [sample for sample in warm if sample.at_s >= seconds / 2]
    lines = []
    for number in range(len(half[0].replicas)):
        lines += [_flat(f"replica {number}: {s.name}", half, _of(number, s.read), s) for s in _SERIES]
    for name, read, unit, suffix, allowance in (
        ("PostgreSQL: connections", lambda s: s.postgres_connections, 1, "", 5),
        ("Redis: memory", lambda s: s.redis_bytes, _MIB, " MiB", 2 * _MIB),
    ):
        as_series = _Series(name, lambda _: 0, unit, suffix, allowance)
        lines.append(_flat(name, half, read, as_series))
    lines.append(_pooled(half))
    for name, latency in (
        ("send to ack, p99", lambda s: s.ack_p99_s),
        ("send to delivery at the other replica, p99", lambda s: s.delivery_p99_s),
        ("loop lag, p99, the worse replica", lambda s: max(r.lag_p99_s for r in s.replicas)),
    ):
        lines.append(_steady(name, [s for s in warm if s.at_s < seconds / 2], half, latency))
    return [*lines, *_faults(samples[-1])]


def _of(number: int, read: Callable[[ReplicaSample], float]) -> Callable[[Sample], float]:
    return lambda sample: read(sample.replicas[number])


def _flat(name: str, half: Sequence[Sample], read: Callable[[Sample], float], series: _Series) -> Line:
    found = growth([sample.at_s for sample in half], [read(sample) for sample in half])
    shown = (
        f"{found.median / series.unit:,.1f}{series.suffix}; slope {found.slope_share:+.1%}, "
        f"step {found.step_share:+.1%} (noise {found.noise_share:.1%})"
    )
    more = f", or {series.allowance / series.unit:g}{series.suffix}" if series.allowance else ""
    ok = not found.exceeds(GROWTH_SHARE, series.allowance)
    return Line(name, shown, f"grows by less than {GROWTH_SHARE:.0%}{more}", ok)


def _pooled(half: Sequence[Sample]) -> Line:
    """A pool opens connections when it needs them, up to its bound: more than that would be a leak."""
    bound = len(half[0].replicas) * CLIENTS_OF_A_REPLICA
    most = max(sample.redis_clients for sample in half)
    return Line("Redis: clients", f"at most {most}", f"at most {bound}: what the pools may hold", most <= bound)


def _steady(name: str, before: Sequence[Sample], half: Sequence[Sample], read: Callable[[Sample], float]) -> Line:
    """Of the p99 of each ten seconds, the median: one bad moment is not a trend."""
    early, late = median(map(read, before)), median(map(read, half))
    bound = LATENCY_FACTOR * early + LATENCY_ALLOWANCE_S
    shown = f"{1000 * early:.1f} ms, then {1000 * late:.1f} ms (worst {1000 * quantile([*map(read, half)], 1):.0f} ms)"
    return Line(name, shown, f"then below {1000 * bound:.1f} ms", late < bound)


def _faults(last: Sample) -> list[Line]:
    statuses: dict[str, int] = {}
    for replica in last.replicas:
        for status, count in replica.http_5xx.items():
            statuses[status] = statuses.get(status, 0) + count
    others = {status: count for status, count in statuses.items() if status != "503"}
    shown = ", ".join(f"{count} × {status}" for status, count in sorted(statuses.items())) or "none"
    return [Line("answers of 5xx", shown, "only 503 (too busy to hash)", not others)]
