from __future__ import annotations

import pytest
from sqlalchemy import text

from chatapp.errors import Unavailable
from chatapp.storage import probe, users
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


async def test_search_uses_the_prefix_indexes(world: World) -> None:
    plan = await plan_of(world, "plan1234")
    assert "ix_users_username_key_prefix" in plan
    assert "ix_users_display_name_prefix" in plan


async def test_the_database_tells_how_long_it_took(world: World) -> None:
    assert 0 < await probe.ping(world.database) < 2


async def test_a_database_that_can_only_be_read_is_no_use(world: World) -> None:
    async with world.database.engine.connect() as connection:
        name = (await connection.exec_driver_sql("SELECT current_database()")).scalar_one()
        await connection.exec_driver_sql(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        await connection.commit()
        await world.database.close()
        try:
            with pytest.raises(Unavailable):
                await probe.ping(world.database)
        finally:
            await connection.exec_driver_sql("SET default_transaction_read_only = off")
            await connection.rollback()
            await connection.exec_driver_sql(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
            await connection.commit()
    await world.database.close()
