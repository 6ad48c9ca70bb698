"""Two replicas' limits over one Redis."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from chatapp.errors import InvalidCredentials, Overloaded, RateLimited
from chatapp.limiting.allowances import Allowance, Allowances
from chatapp.limiting.limiter import RateLimiter
from chatapp.limiting.opening import TIMEOUT_S, open_storage
from chatapp.limiting.shared import PAUSE_S, SharedCounts
from tests.bus.private_valkey import PrivateValkey
from tests.bus.recorder import eventually

MUCH = Allowance(1000, 60)
HOUR = 3600
ALLOWANCES = Allowances(
    login=Allowance(3, HOUR),
    login_address=Allowance(20, HOUR),
    register=Allowance(5, HOUR),
    send=Allowance(100, HOUR),
    command=MUCH,
    connect=Allowance(10, HOUR),
    connect_address=MUCH,
)

Start = Callable[..., Awaitable[RateLimiter]]


@asynccontextmanager
async def running(url: str | None, allowances: Allowances) -> AsyncIterator[RateLimiter]:
    clock = asyncio.get_running_loop().time
    limiter = RateLimiter(allowances, None if url is None else SharedCounts(open_storage("single", url), clock))
    task = asyncio.create_task(limiter.run())
    try:
        yield limiter
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await limiter.close()


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    async with AsyncExitStack() as stack:

        async def start(url: str | None, **changes: Allowance) -> RateLimiter:
            return await stack.enter_async_context(running(url, msgspec.structs.replace(ALLOWANCES, **changes)))

        yield start


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[PrivateValkey]:
    valkey = PrivateValkey(tmp_path, password="open-sesame")
    valkey.start()
    yield valkey
    valkey.kill()


def somebody() -> int:
    return secrets.randbits(40)


def admitted(limiter: RateLimiter, user: int, times: int) -> int:
    return sum(limiter.wait_s("send", user) == 0 for _ in range(times))


async def registered(limiter: RateLimiter, address: str, times: int) -> int:
    count = 0
    for _ in range(times):
        try:
            await limiter.register(address)
        except RateLimited:
            continue
        else:
            count += 1
    return count


async def log_in(limiter: RateLimiter, address: str, username: str, error: Exception | None = None) -> None:
    async with limiter.login(address, username):
        if error is not None:
            raise error


async def test_a_user_is_limited_over_all_replicas(start: Start, redis_url: str) -> None:
    one, two = await start(redis_url), await start(redis_url)
    user = somebody()
    assert admitted(one, user, 200) == 100
    await eventually(lambda: one.refusals.portions == 1)
    assert admitted(two, user, 10) == 10
    await eventually(lambda: two.refusals.portions == 1)
    assert admitted(two, user, 100) == 0
    assert two.refusals.send == 100


async def test_together_replicas_admit_too_much_by_a_tenth_for_each_at_most(start: Start, redis_url: str) -> None:
    replicas = [await start(redis_url) for _ in range(4)]
    user = somebody()
    count = 0
    for _ in range(200):
        for replica in replicas:
            count += admitted(replica, user, 1)
        await asyncio.sleep(0.01)  # time for what is told in the background
    assert 100 <= count <= 130 + len(replicas)


async def test_who_stays_below_a_tenth_costs_redis_nothing(start: Start, redis_url: str) -> None:
    one = await start(redis_url)
    user = somebody()
    assert admitted(one, user, 9) == 9
    await asyncio.sleep(0.05)
    assert one.refusals.portions == 0


async def test_an_address_is_limited_over_all_replicas(start: Start, redis_url: str) -> None:
    one, two = await start(redis_url), await start(redis_url)
    network = f"2001:db8:{secrets.token_hex(2)}:{secrets.token_hex(2)}"
    assert await registered(one, f"{network}::1", 3) == 3
    assert await registered(two, f"{network}:9::2", 4) == 2
    assert two.refusals.register == 2


async def test_wrong_passwords_count_over_all_replicas_and_a_right_one_ends_that(start: Start, redis_url: str) -> None:
    one, two = await start(redis_url), await start(redis_url)
    name, here, there = secrets.token_hex(8), secrets.token_hex(8), secrets.token_hex(8)
    for replica in (one, two, one):
        with pytest.raises(InvalidCredentials):
            await log_in(replica, here, name, InvalidCredentials())
    await log_in(two, there, name)
    for replica in (one, two, one, two):
        with pytest.raises(InvalidCredentials):
            await log_in(replica, here, name, InvalidCredentials())
    with pytest.raises(RateLimited) as refused:
        await log_in(one, here, name)
    assert 0 < refused.value.retry_after_s <= HOUR / 3
    assert one.refusals.login == 1
    await log_in(one, there, name)


async def test_an_address_that_guesses_at_many_accounts_is_refused(start: Start, redis_url: str) -> None:
    one = await start(redis_url)
    here = secrets.token_hex(8)
    for _ in range(20):
        with pytest.raises(InvalidCredentials):
            await log_in(one, here, secrets.token_hex(8), InvalidCredentials())
    with pytest.raises(RateLimited):
        await log_in(one, here, secrets.token_hex(8))


async def test_right_passwords_and_faults_of_ours_do_not_count(start: Start, redis_url: str) -> None:
    one = await start(redis_url)
    here, name = secrets.token_hex(8), secrets.token_hex(8)
    for _ in range(25):
        await log_in(one, here, name)
        with pytest.raises(Overloaded):
            await log_in(one, here, name, Overloaded())


async def test_sockets_of_a_user_are_limited(start: Start, redis_url: str) -> None:
    one = await start(redis_url)
    user = somebody()
    for _ in range(10):
        one.connect(user)
    with pytest.raises(RateLimited):
        one.connect(user)
    assert one.refusals.connect == 1


async def test_names_do_not_reach_redis(start: Start, valkey: PrivateValkey) -> None:
    one = await start(valkey.url)
    with pytest.raises(InvalidCredentials):
        await log_in(one, "192.0.2.7", "correct horse", InvalidCredentials())
    keys = valkey.command("KEYS", "*")
    assert isinstance(keys, list)
    assert keys
    assert not any(b"correct" in key for key in keys)
    assert all(isinstance(ttl := valkey.command("TTL", key.decode()), int) and ttl > 0 for key in keys)


async def test_while_redis_is_away_each_replica_limits_by_itself(start: Start, valkey: PrivateValkey) -> None:
    one, two = await start(valkey.url), await start(valkey.url)
    here, name, user = secrets.token_hex(8), secrets.token_hex(8), somebody()
    assert await registered(one, here, 2) == 2
    valkey.kill()
    assert await registered(one, here, 9) == 3
    assert await registered(two, here, 9) == 5
    assert admitted(one, user, 200) == admitted(two, user, 200) == 100
    for _ in range(4):
        with pytest.raises(InvalidCredentials):
            await log_in(one, here, name, InvalidCredentials())
    with pytest.raises(RateLimited):
        await log_in(one, here, name)
    assert one.refusals.shared_failures >= 1
    valkey.start()
    other = secrets.token_hex(8)

    async def is_back() -> bool:
        before = one.refusals.shared_failures
        await registered(one, other, 1)
        return valkey.command("EXISTS", _key(other)) == 1 and one.refusals.shared_failures == before

    deadline = time.monotonic() + 10
    while not await is_back():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    assert await registered(two, secrets.token_hex(8), 5) == 5


async def test_a_redis_that_hangs_costs_nobody_more_than_a_moment(start: Start, valkey: PrivateValkey) -> None:
    one = await start(valkey.url)
    here = secrets.token_hex(8)
    assert await registered(one, here, 1) == 1
    valkey.freeze()
    try:
        began = time.monotonic()
        assert await registered(one, here, 9) == 4
        assert time.monotonic() - began < TIMEOUT_S + PAUSE_S / 2
        began = time.monotonic()
        assert admitted(one, somebody(), 200) == 100
        assert time.monotonic() - began < 0.1
    finally:
        valkey.thaw()


async def test_without_redis_a_replica_limits_by_itself(start: Start) -> None:
    one = await start(None)
    assert await registered(one, "192.0.2.7", 9) == 5
    assert admitted(one, somebody(), 200) == 100


def _key(address: str) -> str:
    return f"chatapp:limits:register:{address}:{int(time.time() // HOUR)}"
