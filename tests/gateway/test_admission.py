from __future__ import annotations

from collections import Counter

import pytest

from chatapp.errors import Overloaded, ReplicaFull
from chatapp.gateway.admission import LONGEST_RETURN_S, RETURNS_PER_S, Admission


def told(admission: Admission, now: float = 0.0) -> float:
    with pytest.raises(Overloaded) as refused:
        admission.check(0, 10, now)
    return refused.value.retry_after_s


def test_who_finds_room_is_admitted() -> None:
    admission = Admission(connections=100, connecting=10)
    admission.check(99, 9, 0.0)
    assert admission.stats.overloaded == admission.stats.full == 0


def test_the_first_come_back_after_a_second_or_two() -> None:
    assert told(Admission(100, 10)) in (1, 2)


def test_the_more_are_told_to_come_back_the_wider_they_are_spread() -> None:
    admission = Admission(100, 10)
    returns = Counter(told(admission) for _ in range(5 * RETURNS_PER_S))
    assert min(returns) == 1
    assert max(returns) in (5, 6)
    assert max(returns.values()) < 1.3 * RETURNS_PER_S
    assert admission.stats.overloaded == 5 * RETURNS_PER_S


def test_the_spread_shrinks_as_time_passes() -> None:
    admission = Admission(100, 10)
    for _ in range(5 * RETURNS_PER_S):
        told(admission)
    assert told(admission, now=5.1) <= 2


def test_nobody_is_told_to_stay_away_for_long() -> None:
    admission = Admission(100, 10)
    assert max(told(admission) for _ in range(50 * RETURNS_PER_S)) == LONGEST_RETURN_S


def test_a_full_replica_says_so() -> None:
    admission = Admission(100, 10)
    with pytest.raises(ReplicaFull) as refused:
        admission.check(100, 0, 0.0)
    assert refused.value.code_word == "replica_full"
    assert refused.value.retry_after_s >= 1
    assert admission.stats.full == 1
