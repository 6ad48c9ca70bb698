"""What the soak calls growth, and what it does not."""

from __future__ import annotations

import random

import pytest

from tests.soak.statistics import bucket_quantile, growth, quantile

BOUND = 0.05
TIMES = [10.0 * number for number in range(180)]


def noisy(seed: int = 1) -> list[float]:
    """100, give or take 3."""
    rng = random.Random(seed)
    return [rng.gauss(100, 3) for _ in TIMES]


@pytest.mark.parametrize("seed", range(20))
def test_what_is_flat_but_noisy_does_not_grow(seed: int) -> None:
    assert not growth(TIMES, noisy(seed)).exceeds(BOUND)


def test_a_leak_within_the_noise_is_caught() -> None:
    leaky = [value + 10 * at / TIMES[-1] for at, value in zip(TIMES, noisy(), strict=True)]
    found = growth(TIMES, leaky)
    assert found.exceeds(BOUND)
    assert found.slope_share == pytest.approx(0.095, abs=0.03)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_a_step_that_stays_is_caught_wherever_it_is(share: float) -> None:
    stepping = [value + (10 if at > share * TIMES[-1] else 0) for at, value in zip(TIMES, noisy(), strict=True)]
    assert growth(TIMES, stepping).exceeds(BOUND)


def test_a_few_spikes_are_no_growth() -> None:
    spiky = [value * (5 if number % 17 == 16 else 1) for number, value in enumerate(noisy())]
    assert not growth(TIMES, spiky).exceeds(BOUND)


def test_what_shrinks_does_not_grow() -> None:
    assert not growth(TIMES, [200 - 0.1 * at for at in TIMES]).exceeds(BOUND)


def test_one_more_of_a_few_is_within_the_allowance() -> None:
    counts = [10.0 if at < TIMES[90] else 11.0 for at in TIMES]
    assert growth(TIMES, counts).exceeds(BOUND)
    assert not growth(TIMES, counts).exceeds(BOUND, allowance=5)


def test_a_long_series_is_thinned_and_a_leak_still_found() -> None:
    times = [10.0 * number for number in range(8640)]
    assert growth(times, [100 + number / 500 for number in range(8640)]).exceeds(BOUND)


def test_three_samples_say_nothing() -> None:
    with pytest.raises(ValueError, match="nothing"):
        growth([0, 1, 2], [1, 1, 1])


def test_a_quantile_lies_within_its_bucket() -> None:
    assert quantile([1, 2, 3, 4], 0.5) == 3
    assert quantile([], 0.99) == 0
    assert bucket_quantile([(0.01, 90), (0.02, 100), (float("inf"), 100)], 0.95) == pytest.approx(0.015)
    assert bucket_quantile([(0.01, 0), (float("inf"), 5)], 0.99) == 0.01
    assert bucket_quantile([(0.01, 0), (float("inf"), 0)], 0.99) == 0
