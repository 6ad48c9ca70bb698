"""Everything that touches PostgreSQL, through a real PgBouncer in transaction mode."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from sqlalchemy import make_url, text

from chatapp.errors import Unavailable
from chatapp.protocol.ids import ChatId
from chatapp.storage import migrate
from chatapp.storage.engine import Database, PoolSettings
from chatapp.storage.writer import MessageWriter
from tests.gateway.replicas import node
from tests.storage.private_pgbouncer import PROGRAM, WHY_NOT, PrivatePgBouncer
from tests.world import World

pytestmark = pytest.mark.skipif(PROGRAM is None, reason=WHY_NOT)

POOL = PoolSettings(size=8, pgbouncer=True)
NOTHING_KEPT = {"statement_cache_size": 0, "prepared_statement_cache_size": 0}


@pytest.fixture(scope="module")
def bouncer(database_url: str) -> Iterator[PrivatePgBouncer]:
    bouncer = PrivatePgBouncer(database_url)
    bouncer.start()
    yield bouncer
    bouncer.close()


@pytest.fixture(scope="module")
async def world(bouncer: PrivatePgBouncer, database_url: str) -> AsyncIterator[World]:
    address = make_url(bouncer.before(database_url)).set(drivername="postgresql+asyncpg")
    await migrate.upgrade(address, NOTHING_KEPT)
    database = Database(address, POOL)
    world = World(database)
    world.writer.start()
    yield world
    await world.writer.close()
    world.passwords.close()
    await database.close()


async def test_clients_that_take_turns_at_its_connections_find_their_statements(world: World) -> None:
    people = await asyncio.gather(*(world.somebody() for _ in range(6)))
    chats = await asyncio.gather(*(world.group(one, *people) for one in people))
    other = MessageWriter(world.database, committed=lambda group: None)
    other.start()

    async def talk(number: int) -> None:
        who, chat_id = people[number % 6], chats[number % 5]
        for at in range(10):
            writer = (world.writer, other)[at % 2]
            appended = await writer.append(who.user_id, chat_id, f"{number} {at}", f"n{number}-{at}")
            page = await world.messages.history(who, chat_id, limit=5, offset=0, before=None, after=None)
            assert page[0].seq >= appended.seq
            await world.messages.edit(who, appended.message_id, "changed")
            await world.users.page(limit=3, offset=0, q=who.username[:12])

    await asyncio.gather(*(talk(number) for number in range(12)))
    await other.close()
    detail = await world.chats.get(people[0], chats[0])
    assert detail.last_seq == len([n for n in range(12) if n % 5 == 0]) * 20


async def test_nothing_stays_behind_at_the_servers_connections(world: World) -> None:
    for _ in range(6):
        async with world.database.read() as connection:
            kept = (await connection.execute(text("SELECT count(*) FROM pg_prepared_statements"))).scalar()
            limit = (await connection.execute(text("SHOW lock_timeout"))).scalar()
            locks = text(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid "
                "FROM pg_database WHERE datname = current_database())"
            )
            assert (kept, limit, (await connection.execute(locks)).scalar()) == (0, "0", 0)


async def test_several_migrate_at_once_through_it(bouncer: PrivatePgBouncer, fresh_database: Callable[[], str]) -> None:
    url = make_url(bouncer.before(fresh_database())).set(drivername="postgresql+asyncpg")
    await asyncio.gather(*(migrate.upgrade(url, NOTHING_KEPT) for _ in range(4)))
    current, head = await migrate.current_revision(url, NOTHING_KEPT)
    assert current == head
    await migrate.check(url, NOTHING_KEPT)


async def test_limits_that_the_database_or_role_has_hold(
    bouncer: PrivatePgBouncer, fresh_database: Callable[[], str]
) -> None:
    direct = make_url(fresh_database()).set(drivername="postgresql+asyncpg")
    url = make_url(bouncer.before(direct.render_as_string(hide_password=False)))
    owner, database = Database(direct, PoolSettings(size=1)), Database(url, POOL)
    try:
        async with owner.read() as connection:
            await connection.execute(text(f"ALTER DATABASE {direct.database} SET lock_timeout = '100ms'"))
        await migrate.upgrade(url, NOTHING_KEPT)
        world = World(database)
        world.writer.start()
        ada = await world.somebody()
        chat_id = await world.group(ada)
        async with owner.begin() as holding:
            await holding.execute(text("SELECT 1 FROM chats WHERE id = :id FOR UPDATE"), {"id": chat_id})
            async with asyncio.timeout(1):
                with pytest.raises(Unavailable):
                    await world.messages.send(ada, chat_id, "x")
        await world.messages.send(ada, chat_id, "x")
        await world.writer.close()
        world.passwords.close()
    finally:
        await database.close()
        await owner.close()


async def test_a_replica_sends_reads_and_replays_through_it(
    bouncer: PrivatePgBouncer, world: World, database_url: str, redis_url: str
) -> None:
    url = bouncer.before(database_url)
    async with node(url, redis_url, "wire", postgres_db__pgbouncer="true") as replica:
        ada, bob = await replica.somebody("ada"), await replica.somebody("bob")
        chat_id = await replica.group(ada, bob)
        one, two = await replica.connect(ada), await replica.connect(bob)
        acked = [(await one.send(chat_id, str(number), f"n{number}"))["seq"] for number in range(20)]
        heard = [(await two.until("message", seq=seq))["content"] for seq in acked]
        assert heard == [str(number) for number in range(20)]
        await two.close()
        two = await replica.connect(bob, "&follow=none")
        await two.done("join_chat", {"chat_id": chat_id, "after_seq": 0})
        assert two.positions(chat_id)[-20:] == acked
        await one.close()
        await two.close()


async def test_while_it_is_away_sends_are_refused_and_work_again_after(bouncer: PrivatePgBouncer, world: World) -> None:
    ada = await world.somebody()
    chat_id = await world.group(ada)
    await world.messages.send(ada, chat_id, "before")
    bouncer.kill()
    for _ in range(2):
        with pytest.raises(Unavailable):
            await world.messages.send(ada, chat_id, "away", "n")
        with pytest.raises(Unavailable):
            await world.users.page(limit=1, offset=0)
    bouncer.start()
    # The first to meet the loss has told the pool: no second one does.
    assert (await world.messages.send(ada, chat_id, "after", "n")).message.seq == 2
    await asyncio.gather(*(world.chats.get(ada, ChatId(chat_id)) for _ in range(8)))
