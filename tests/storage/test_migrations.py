from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from sqlalchemy import URL, make_url, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from chatapp.storage import migrate

FreshDatabase = Callable[[], str]


@pytest.fixture
def url(fresh_database: FreshDatabase) -> URL:
    """An empty database."""
    return make_url(fresh_database()).set(drivername="postgresql+asyncpg")


async def objects(url: URL) -> set[str]:
    """Tables, indexes, sequences and functions of ours."""
    engine = create_async_engine(url, poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            relations = await connection.execute(
                text("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace")
            )
            functions = await connection.execute(
                text("SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace")
            )
            return {*relations.scalars(), *functions.scalars()}
    finally:
        await engine.dispose()


async def test_an_empty_database_gets_the_newest_schema(url: URL) -> None:
    assert (await migrate.current_revision(url))[0] is None
    await migrate.upgrade(url)
    current, head = await migrate.current_revision(url)
    assert current == head
    assert {"users", "chats", "chat_members", "messages", "append_messages"} <= await objects(url)


async def test_the_tables_in_the_code_are_those_that_the_migrations_make(url: URL) -> None:
    await migrate.upgrade(url)
    await migrate.check(url)


async def test_down_and_up_again_is_the_same(url: URL) -> None:
    await migrate.upgrade(url)
    before = await objects(url)
    await migrate.downgrade(url)
    left = {name for name in await objects(url) if not name.startswith("alembic_version")}
    assert left == set()
    await migrate.upgrade(url)
    assert await objects(url) == before
    await migrate.check(url)


async def test_upgrading_what_is_new_already_changes_nothing(url: URL) -> None:
    await migrate.upgrade(url)
    before = await objects(url)
    await migrate.upgrade(url)
    assert await objects(url) == before


async def test_replicas_that_start_at_once_on_an_empty_database_upgrade_it_once(url: URL) -> None:
    await asyncio.gather(*(migrate.upgrade(url) for _ in range(4)))
    current, head = await migrate.current_revision(url)
    assert current == head
    await migrate.check(url)
