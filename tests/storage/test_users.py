from __future__ import annotations

import pytest
from sqlalchemy import text

from chatapp.errors import Unavailable
from chatapp.storage import probe, users
from chatapp.storage.engine import Database, PoolSettings
from tests.world import World


async def plan_of(world: World, prefix: str) -> str:
    """How PostgreSQL searches, on a table that is large enough to be worth an index."""
    statement = users._PAGE_LIKE.text
    values = {"key_pattern": users._pattern(prefix), "name_pattern": users._pattern(prefix), "limit": 50, "offset": 0}
    async with world.database.begin() as connection:
        await connection.exec_driver_sql(
            "INSERT INTO users (username, username_key, password, display_name) "
            "SELECT n, 'plan' || n, '', 'Plan ' || n FROM generate_series(1, 20000) n"
        )
        await connection.exec_driver_sql("ANALYZE users")
        lines = (await connection.execute(text(f"EXPLAIN {statement}"), values)).scalars().all()
        await connection.rollback()
    return "\n".join(lines)


async def test_search_reads_no_more_than_what_begins_so(world: World) -> None:
    plan = await plan_of(world, "plan1234")
    assert "Seq Scan" not in plan
    assert "ix_users_display_name_prefix" in plan


async def test_the_database_tells_how_long_it_took(world: World) -> None:
    assert 0 < await probe.ping(world.database) < 2


async def test_a_database_that_can_only_be_read_is_no_use(world: World) -> None:
    read_only = {"server_settings": {"default_transaction_read_only": "on"}}
    database = Database(world.database.engine.url, PoolSettings(size=1), read_only)
    with pytest.raises(Unavailable):
        await probe.ping(database)
    await database.close()
