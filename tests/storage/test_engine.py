"""Limits of time, lost connections, and the choice among hosts, against a real PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from sqlalchemy import text

from chatapp.errors import Unavailable
from chatapp.storage import engine, probe
from chatapp.storage.engine import Database, PoolSettings
from tests.chaos.proxy import FaultProxy
from tests.storage.backends import END_OTHER_CLIENTS
from tests.world import World

SLEEP = text("SELECT pg_sleep(5)")


@asynccontextmanager
async def opened(world: World, pool: PoolSettings, **connect_args: object) -> AsyncIterator[Database]:
    database = Database(world.database.engine.url, pool, connect_args)
    try:
        yield database
    finally:
        await database.close()


@pytest.fixture
def deaf() -> Iterator[int]:
    """A port where connections are made and nothing is ever answered, as by a host that hangs."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


# -- limits -------------------------------------------------------------------------------------------------------


async def test_a_statement_that_takes_too_long_is_cancelled_and_told_as_unavailable(world: World) -> None:
    async with opened(world, PoolSettings(size=1, statement_timeout_ms=50)) as database:
        with pytest.raises(Unavailable):
            async with database.read() as connection:
                await connection.execute(SLEEP)
        with pytest.raises(Unavailable):
            async with database.begin() as connection:
                await connection.execute(SLEEP)
        with pytest.raises(Unavailable):
            async with database.driver() as driver:
                await driver.fetch("SELECT pg_sleep(5)")
        await probe.ping(database)
        assert database.losses == 0


@pytest.mark.parametrize("change", [{"database": "no_such_database"}, {"username": "nobody_of_this_name"}])
async def test_a_server_that_lets_nobody_in_is_away(world: World, change: dict[str, str]) -> None:
    database = Database(world.database.engine.url.set(**change), PoolSettings(size=1))  # type: ignore[arg-type]
    with pytest.raises(Unavailable):
        await probe.ping(database)
    with pytest.raises(Unavailable):
        async with database.driver():
            pass
    await database.close()


async def test_a_lock_that_is_waited_for_too_long_is_told_as_unavailable(world: World) -> None:
    ada = await world.somebody()
    chat_id = await world.group(ada)
    held = text(f"SELECT 1 FROM chats WHERE id = {chat_id} FOR UPDATE")
    async with (
        opened(world, PoolSettings(size=1, lock_timeout_ms=50)) as database,
        world.database.begin() as holding,
    ):
        await holding.execute(held)
        with pytest.raises(Unavailable):
            async with database.begin() as connection:
                await connection.execute(held)
        await probe.ping(database)


async def test_a_transaction_in_which_nothing_happens_is_ended_and_lets_go_of_its_locks(world: World) -> None:
    ada = await world.somebody()
    chat_id = await world.group(ada)
    held = text(f"SELECT 1 FROM chats WHERE id = {chat_id} FOR UPDATE")
    async with opened(world, PoolSettings(size=1, idle_in_transaction_timeout_ms=50)) as database:

        async def fall_asleep() -> None:
            async with database.begin() as connection:
                await connection.execute(held)
                async with world.database.begin() as other:
                    await other.execute(held)
                await connection.execute(text("SELECT 1"))

        with pytest.raises(Unavailable):
            await fall_asleep()
        await probe.ping(database)


@pytest.mark.parametrize("way", ["read", "begin", "driver", "line"])
async def test_a_server_that_stops_answering_is_given_up_after_a_while(
    world: World, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr(engine, "CLIENT_MARGIN_S", 0.1)
    port = world.database.engine.url.port
    assert port is not None
    proxy = FaultProxy(port)
    await proxy.start()
    url = world.database.engine.url.set(host="127.0.0.1", port=proxy.port)
    database = Database(url, PoolSettings(size=2, statement_timeout_ms=200))
    line = database.line()

    async def ask() -> None:
        if way in ("driver", "line"):
            async with database.driver() if way == "driver" else line.driver() as driver:
                await driver.fetch("SELECT 1")
        else:
            async with database.read() if way == "read" else database.begin() as connection:
                await connection.execute(text("SELECT 1"))

    try:
        await ask()
        for link in proxy.links:
            link.go_silent()
        async with asyncio.timeout(3):
            with pytest.raises(Unavailable):
                await ask()
            await ask()  # over a new connection
        assert database.losses == 1
    finally:
        await line.close()
        await database.close()
        await proxy.close()


# -- losses -------------------------------------------------------------------------------------------------------


async def test_the_first_to_meet_a_loss_spares_the_others(world: World) -> None:
    async with opened(world, PoolSettings(size=5)) as database:
        async with contextlib.AsyncExitStack() as together:
            for _ in range(5):
                connection = await together.enter_async_context(database.read())
                await connection.execute(text("SELECT 1"))
        async with world.database.read() as connection:
            await connection.execute(text(END_OTHER_CLIENTS))
        with pytest.raises(Unavailable):
            await probe.ping(database)
        await asyncio.gather(*(probe.ping(database) for _ in range(10)))
        assert database.losses == 1
    with contextlib.suppress(Unavailable):  # the tests after this one should not meet them
        await probe.ping(world.database)


# -- hosts --------------------------------------------------------------------------------------------------------


async def test_a_first_host_that_hangs_does_not_hide_the_second(world: World, deaf: int) -> None:
    url = world.database.engine.url
    hosts = {"host": ["127.0.0.1", url.host], "port": [deaf, url.port], "target_session_attrs": "read-write"}
    async with opened(world, PoolSettings(size=2), timeout=1.0, **hosts) as database:
        await probe.ping(database)
        async with asyncio.timeout(0.4), database.read(), database.read() as second:  # it is asked first from now on
            await second.execute(text("SELECT 1"))


@pytest.mark.parametrize(("target", "found"), [("standby", False), ("prefer-standby", True), ("any", True)])
async def test_hosts_are_taken_for_what_they_are(world: World, target: str, found: bool) -> None:
    url = world.database.engine.url
    hosts = {"host": [url.host, url.host], "port": [url.port, url.port], "target_session_attrs": target}
    async with opened(world, PoolSettings(size=1), **hosts) as database:
        if found:
            await probe.ping(database)
        else:
            with pytest.raises(Unavailable):
                await probe.ping(database)


# -- cancellation -------------------------------------------------------------------------------------------------


async def test_what_is_cancelled_at_any_moment_leaves_no_connection_in_a_transaction(world: World) -> None:
    """Else the next one's write would be acked within a transaction that nobody commits."""
    chance = random.Random(1)
    done: set[str] = set()

    async def in_a_transaction(token: str) -> None:
        async with database.begin() as connection:
            await connection.execute(text("SELECT pg_sleep(0.0005)"))
            await connection.execute(text("INSERT INTO written VALUES (:token)"), {"token": token})
        done.add(token)

    async def by_itself(token: str) -> None:
        async with database.driver() as driver:
            await driver.fetch("INSERT INTO written VALUES ($1)", token)
        done.add(token)

    async def read_before(token: str) -> None:
        async with database.read() as connection:
            await connection.execute(text("SELECT pg_sleep(0.0005)"))
        await by_itself(token)

    async with opened(world, PoolSettings(size=3)) as database:
        async with database.driver() as driver:
            await driver.execute("DROP TABLE IF EXISTS written; CREATE TABLE written (token text PRIMARY KEY)")
        for number in range(200):
            work = chance.choice([in_a_transaction, by_itself, read_before])
            tasks = [asyncio.ensure_future(work(f"{number}.{one}")) for one in range(chance.randrange(1, 5))]
            for task in tasks:
                await asyncio.sleep(chance.choice([0, 0.0005, 0.001, 0.002, 0.004]))
                if chance.random() < 0.4:
                    task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(outcome is None or isinstance(outcome, asyncio.CancelledError) for outcome in outcomes), outcomes
        async with AsyncExitStack() as taken:
            for _ in range(3):
                driver = await taken.enter_async_context(database.driver())
                assert not driver.is_in_transaction()
    async with world.database.driver() as driver:
        kept = {row["token"] for row in await driver.fetch("SELECT token FROM written")}
    assert len(done) > 100
    assert done <= kept
