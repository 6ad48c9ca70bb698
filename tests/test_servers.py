from __future__ import annotations

from collections.abc import Callable

import asyncpg
from redis.asyncio import Redis


async def ask(url: str, statement: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def test_the_tests_have_a_postgresql_of_the_version_that_is_deployed(database_url: str) -> None:
    assert str(await ask(database_url, "SHOW server_version")).startswith("18")


async def test_a_fresh_database_is_empty_and_another_one_each_time(
    fresh_database: Callable[[], str], database_url: str
) -> None:
    first, second = fresh_database(), fresh_database()
    assert len({first, second, database_url}) == 3
    await ask(first, "CREATE TABLE something ()")
    assert await ask(second, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0


async def test_the_tests_have_a_redis_for_themselves(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as redis:
        assert len(await redis.client_list()) == 1
        assert await redis.pubsub_channels() == []
