"""A run that grows or breaks has not passed."""

from __future__ import annotations

import msgspec

from tests.soak.sample import ReplicaSample, Sample
from tests.soak.verdict import CLIENTS_OF_A_REPLICA, judge, warm_up_s

REPLICA = ReplicaSample(
    rss_bytes=200 << 20,
    rss_worst_bytes=300 << 20,
    pss_bytes=190 << 20,
    fds=60,
    threads=7,
    tasks=40,
    connections=20,
    backlog_bytes=0,
    lag_p99_s=0.01,
    lag_worst_s=0.05,
    stored=0,
    delivered=0,
    slow_readers=0,
    rate_limited=0,
    http_5xx={"503": 3},
    cpu_s=1.0,
)


def run_of(*replicas: ReplicaSample, p99_s: float = 0.02, before_s: float = 0.02) -> list[Sample]:
    """One sample each ten seconds; the p99 changes half-way."""
    half = len(replicas) / 2
    return [
        Sample(
            at_s=10.0 * number,
            replicas=[replica],
            postgres_connections=10,
            redis_bytes=1 << 20,
            redis_clients=5,
            ack_p50_s=0.001,
            ack_p99_s=before_s if number < half else p99_s,
            delivery_p50_s=0.001,
            delivery_p99_s=0.02,
            probes=100,
            load={},
        )
        for number, replica in enumerate(replicas)
    ]


def failed(samples: list[Sample]) -> set[str]:
    return {line.what for line in judge(samples) if not line.ok}


def test_what_stays_as_it_is_passes() -> None:
    assert failed(run_of(*[REPLICA] * 60)) == set()


def test_memory_that_leaks_fails() -> None:
    leaking = [msgspec.structs.replace(REPLICA, rss_bytes=(200 + number) << 20) for number in range(60)]
    assert failed(run_of(*leaking)) == {"replica 0: memory (RSS)"}


def test_tasks_that_pile_up_fail() -> None:
    piling = [msgspec.structs.replace(REPLICA, tasks=40 + 2 * number) for number in range(60)]
    assert failed(run_of(*piling)) == {"replica 0: tasks"}


def test_more_redis_clients_than_the_pools_may_hold_fail() -> None:
    for clients, fails in ((CLIENTS_OF_A_REPLICA, False), (CLIENTS_OF_A_REPLICA + 1, True)):
        samples = [msgspec.structs.replace(sample, redis_clients=clients) for sample in run_of(*[REPLICA] * 60)]
        assert ("Redis: clients" in failed(samples)) == fails


def test_growth_before_the_second_half_is_warming_up() -> None:
    warming = [msgspec.structs.replace(REPLICA, rss_bytes=min(200, 100 + 10 * number) << 20) for number in range(60)]
    assert failed(run_of(*warming)) == set()


def test_latency_that_grows_fails() -> None:
    assert failed(run_of(*[REPLICA] * 60, p99_s=0.2)) == {"send to ack, p99"}


def test_a_500_fails_and_a_503_does_not() -> None:
    broken = msgspec.structs.replace(REPLICA, http_5xx={"500": 1, "503": 9})
    assert failed(run_of(*[REPLICA] * 59, broken)) == {"answers of 5xx"}


def test_a_short_run_leaves_out_a_fifth_and_a_long_one_two_minutes() -> None:
    assert (warm_up_s(300), warm_up_s(3600)) == (60, 120)
