from __future__ import annotations

import pytest

from chatapp.errors import InvalidCredentials, Overloaded, RateLimited
from chatapp.limiting.allowances import Allowance
from chatapp.limiting.counts import LocalCounts
from chatapp.limiting.logins import LONGEST_WAIT_S, REMEMBERED_S, Logins

HOME, ELSEWHERE = "192.0.2.7", "198.51.100.1"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def logins(clock: Clock) -> Logins:
    """Three wrong passwords are free, then the waits begin with 20 s."""
    return Logins(LocalCounts(clock), Allowance(3, 60))


async def wait_of(logins: Logins, network: str = ELSEWHERE, username: str = "alice") -> float:
    with pytest.raises(RateLimited) as refused:
        await logins.attempt(network, username)
    return refused.value.retry_after_s


async def fail(logins: Logins, times: int, network: str = ELSEWHERE) -> None:
    for _ in range(times):
        await logins.attempt(network, "alice")


async def test_after_some_wrong_passwords_the_waits_grow(logins: Logins, clock: Clock) -> None:
    await fail(logins, 3)
    for expected_s in (20, 40, 80, 160):
        await fail(logins, 1)
        assert await wait_of(logins) == expected_s
        clock.now += expected_s


async def test_whoever_tries_while_waiting_does_not_wait_longer(logins: Logins, clock: Clock) -> None:
    await fail(logins, 4)
    clock.now += 15
    assert await wait_of(logins) == 5
    assert await wait_of(logins) == 5


async def test_no_wait_is_longer_than_a_quarter_of_an_hour_and_all_is_forgotten(logins: Logins, clock: Clock) -> None:
    longest = 0.0
    until = clock.now + REMEMBERED_S
    await fail(logins, 3)
    while clock.now < until:
        await fail(logins, 1)
        longest = await wait_of(logins)
        assert longest <= LONGEST_WAIT_S
        clock.now += longest
    assert longest == LONGEST_WAIT_S
    await fail(logins, 3)


async def test_a_right_password_ends_it(logins: Logins, clock: Clock) -> None:
    await fail(logins, 3)
    await (await logins.attempt(HOME, "alice")).succeeded()
    await fail(logins, 3)


async def test_a_name_in_another_case_is_the_same_account(logins: Logins) -> None:
    await fail(logins, 4)
    assert await wait_of(logins, username=" ALICE ") == 20
    await logins.attempt(ELSEWHERE, "bob")


async def test_who_guesses_elsewhere_does_not_keep_the_owner_out(logins: Logins, clock: Clock) -> None:
    await (await logins.attempt(HOME, "alice")).succeeded()
    await fail(logins, 4)
    assert await wait_of(logins) == 20
    await (await logins.attempt(HOME, "alice")).succeeded()
    assert await wait_of(logins) == 20


async def test_of_many_attempts_at_once_no_more_are_made_than_one_after_the_other(logins: Logins) -> None:
    made = 0
    for _ in range(50):
        try:
            await logins.attempt(ELSEWHERE, "alice")
        except RateLimited:
            continue
        made += 1
    assert made == 4


async def test_an_attempt_that_was_not_carried_out_does_not_count(logins: Logins) -> None:
    for _ in range(10):
        await (await logins.attempt(ELSEWHERE, "alice")).forget()
    await fail(logins, 4)


def test_only_wrong_credentials_count() -> None:
    assert not issubclass(Overloaded, InvalidCredentials)


async def test_a_bounded_number_of_counts_is_kept(clock: Clock) -> None:
    counts = LocalCounts(clock, limit=100)
    for number in range(1000):
        await counts.add(str(number), 60)
    assert len(counts) <= 100
    assert await counts.add("999", 60) == 2


async def test_a_count_that_has_expired_is_freed_and_no_other(clock: Clock) -> None:
    counts = LocalCounts(clock)
    await counts.add("short", 60)
    await counts.add("long", 61)
    clock.now += 60
    counts.prune()
    assert len(counts) == 1
    assert await counts.add("long", 61) == 2
