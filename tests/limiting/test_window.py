from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chatapp.limiting.allowances import Allowance
from chatapp.limiting.window import Window

TEN_A_MINUTE = Allowance(10, 60)


def test_as_many_are_admitted_as_are_allowed() -> None:
    window = Window(TEN_A_MINUTE, 600.0)
    assert [window.take(TEN_A_MINUTE, 600.0) for _ in range(10)] == [0.0] * 10
    assert window.take(TEN_A_MINUTE, 600.0) > 0


def test_what_is_refused_does_not_count() -> None:
    window = Window(TEN_A_MINUTE, 600.0)
    for _ in range(100):
        window.take(TEN_A_MINUTE, 600.0)
    assert window.fresh == 10


def test_the_end_of_a_period_does_not_give_everything_back_at_once() -> None:
    window = Window(TEN_A_MINUTE, 655.0)
    for _ in range(10):
        assert window.take(TEN_A_MINUTE, 655.0) == 0
    admitted = sum(window.take(TEN_A_MINUTE, 660.0 + second) == 0 for second in range(30))
    assert admitted == 4


def test_what_the_others_told_counts() -> None:
    window = Window(TEN_A_MINUTE, 600.0)
    window.take(TEN_A_MINUTE, 600.0)
    window.told(window.period, 1, 10)
    assert window.take(TEN_A_MINUTE, 600.0) > 0
    assert window.fresh == 0


def test_an_answer_about_a_period_that_is_over_changes_nothing() -> None:
    window = Window(TEN_A_MINUTE, 600.0)
    window.take(TEN_A_MINUTE, 600.0)
    window.take(TEN_A_MINUTE, 700.0)
    window.told(10, 1, 10)
    assert (window.shared, window.fresh, window.past) == (0, 1, 1)


@given(
    st.integers(1, 50),
    st.integers(1, 100),
    st.lists(st.floats(0, 30, allow_nan=False), max_size=200),
)
def test_who_waits_as_told_is_admitted(count: int, period_s: int, pauses: list[float]) -> None:
    allowance = Allowance(count, period_s)
    now = 1_000_000.0
    window = Window(allowance, now)
    for pause in pauses:
        now += pause
        wait_s = window.take(allowance, now)
        if wait_s:
            assert wait_s <= 2 * period_s
            now += wait_s + 1e-6
            assert window.take(allowance, now) == 0


@given(st.integers(1, 20), st.lists(st.floats(0, 3, allow_nan=False), min_size=1, max_size=300))
def test_no_period_of_the_clock_admits_more_than_is_allowed(count: int, pauses: list[float]) -> None:
    allowance = Allowance(count, 10)
    now = 0.0
    window = Window(allowance, now)
    admitted: dict[int, int] = {}
    for pause in pauses:
        now += pause
        if not window.take(allowance, now):
            admitted[int(now // 10)] = admitted.get(int(now // 10), 0) + 1
    assert max(admitted.values()) <= count
