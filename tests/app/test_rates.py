from __future__ import annotations

from datetime import UTC, datetime, timedelta

from chatapp.app.rates import pair, quantile_ms, rates_of, rates_of_all
from chatapp.protocol.roll_call import ReplicaReport, Spread

START = datetime(2026, 5, 1, tzinfo=UTC)


def report(name: str, after_s: float, stored: int, *counts: int, started_at: datetime = START) -> ReplicaReport:
    return ReplicaReport(
        name=name,
        version="1",
        started_at=started_at,
        at=START + timedelta(seconds=after_s),
        epoch="e",
        messages_stored=stored,
        connections=3,
        ack=Spread((0.001, 0.01), counts or (0, 0, 0)),
    )


def test_rates_are_counted_by_each_replicas_own_clock_and_summed() -> None:
    pairs = pair([report("a", 0, 100), report("b", 0, 0)], [report("a", 2, 120), report("b", 4, 20)])
    assert [rates_of(one).messages_per_s for one in pairs] == [10, 5]
    total = rates_of_all(pairs)
    assert (total.messages_per_s, total.connections) == (15, 6)


def test_latencies_are_those_of_the_time_between_and_of_all_replicas() -> None:
    pairs = pair(
        [report("a", 0, 0, 1000, 0, 0), report("b", 0, 0, 0, 0, 0)],
        [report("a", 1, 0, 1000, 10, 0), report("b", 1, 0, 90, 0, 0)],
    )
    assert rates_of(pairs[0]).ack_p50_ms == 5.5
    total = rates_of_all(pairs)
    assert total.ack_p50_ms is not None
    assert total.ack_p50_ms < 1
    assert total.ack_p99_ms is not None
    assert 9 < total.ack_p99_ms <= 10


def test_a_replica_that_was_started_anew_counts_from_zero() -> None:
    again = report("a", 11, 5, started_at=START + timedelta(seconds=10))
    (one,) = pair([report("a", 0, 1000)], [again])
    assert rates_of(one).messages_per_s == 5


def test_without_observations_there_is_no_latency() -> None:
    assert quantile_ms([None, Spread((1.0,), (0, 0))], 0.5) is None
    assert quantile_ms([Spread((1.0,), (0, 3))], 0.5) == 1000
