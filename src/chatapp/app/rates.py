"""From two answers of each replica to what happened in between: rates and latencies, of each and of all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from chatapp.protocol.roll_call import ReplicaReport, Spread


class Rates(Struct, frozen=True, kw_only=True):
    """Of one replica, or of all together. Latencies are None when nothing happened; they are interpolated."""

    replica: str
    """Empty: all."""
    version: str = ""
    draining: bool = False
    connections: int
    users: int
    """Of all together, who is connected to several replicas counts at each."""
    rooms: int
    """Likewise."""
    sends_waiting: int
    messages_per_s: float
    deliveries_per_s: float
    ack_p50_ms: float | None
    ack_p99_ms: float | None
    delivery_p50_ms: float | None
    delivery_p99_ms: float | None
    loop_lag_ms: float
    """The worst of the last 15 to 30 seconds; of all, the worst replica's."""
    gaps_found: int
    slow_readers_dropped: int
    """Both in between."""


class Between(Struct, frozen=True):
    """A replica's counters now, and before; of one that was not there before, from zero on its start."""

    before: ReplicaReport | None
    now: ReplicaReport

    @property
    def seconds(self) -> float:
        """By the replica's own clock."""
        begun = self.now.started_at if self.before is None else self.before.at
        return max(0.001, (self.now.at - begun).total_seconds())

    def counted(self, name: str) -> int:
        """How much a counter has grown."""
        return int(getattr(self.now, name)) - (0 if self.before is None else int(getattr(self.before, name)))

    def spread(self, name: str) -> Spread | None:
        """What was observed in between."""
        now: Spread | None = getattr(self.now, name)
        before: Spread | None = None if self.before is None else getattr(self.before, name)
        if now is None or before is None or before.bounds_s != now.bounds_s:
            return now
        return Spread(now.bounds_s, tuple(n - b for n, b in zip(now.counts, before.counts, strict=True)))


def pair(before: Iterable[ReplicaReport], now: Iterable[ReplicaReport]) -> list[Between]:
    """Each replica that answers now, with its earlier answer. One that was started anew is another one."""
    earlier = {(report.name, report.started_at): report for report in before}
    return [Between(earlier.get((report.name, report.started_at)), report) for report in now]


def rates_of(one: Between) -> Rates:
    """One replica's."""
    return _rates(one.now.name, [one], version=one.now.version, draining=one.now.draining)


def rates_of_all(all_of_them: Sequence[Between]) -> Rates:
    """Summed."""
    return _rates("", all_of_them)


def quantile_ms(spreads: Iterable[Spread | None], quantile: float) -> float | None:
    """Below which this share lies, in milliseconds; None without observations, the last bound above it."""
    given = [spread for spread in spreads if spread is not None and any(spread.counts)]
    if not given:
        return None
    bounds: tuple[float, ...] = given[0].bounds_s
    counts = [0] * (len(bounds) + 1)
    for spread in given:
        if spread.bounds_s == bounds:
            counts = [sum_ + count for sum_, count in zip(counts, spread.counts, strict=True)]
    wanted, below = quantile * sum(counts), 0
    for at, count in enumerate(counts[:-1]):
        if count and below + count >= wanted:
            lower = bounds[at - 1] if at else 0.0
            return round((lower + (bounds[at] - lower) * (wanted - below) / count) * 1000, 2)
        below += count
    return bounds[-1] * 1000


def _rates(name: str, some: Sequence[Between], *, version: str = "", draining: bool = False) -> Rates:
    acks = [one.spread("ack") for one in some]
    deliveries = [one.spread("delivery") for one in some]
    return Rates(
        replica=name,
        version=version,
        draining=draining,
        connections=sum(one.now.connections for one in some),
        users=sum(one.now.users for one in some),
        rooms=sum(one.now.rooms for one in some),
        sends_waiting=sum(one.now.sends_waiting for one in some),
        messages_per_s=round(sum(one.counted("messages_stored") / one.seconds for one in some), 2),
        deliveries_per_s=round(sum(one.counted("events_delivered") / one.seconds for one in some), 2),
        ack_p50_ms=quantile_ms(acks, 0.5),
        ack_p99_ms=quantile_ms(acks, 0.99),
        delivery_p50_ms=quantile_ms(deliveries, 0.5),
        delivery_p99_ms=quantile_ms(deliveries, 0.99),
        loop_lag_ms=round(max((one.now.loop_lag_s for one in some), default=0.0) * 1000, 2),
        gaps_found=sum(one.counted("gaps_found") for one in some),
        slow_readers_dropped=sum(one.counted("slow_readers_dropped") for one in some),
    )
