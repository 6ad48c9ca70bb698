"""A connection keeps its plans: what PostgreSQL knew of the tables when it made them must not matter later."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import asyncpg
import pytest

from tests.world import opened_database

FreshDatabase = Callable[[], str]

TABLES = ["users", "chats", "chat_members", "messages"]
APPEND = "SELECT outcome FROM append_messages($1::bigint[], $2::bigint[], $3::text[], $4::text[], false)"
# Of one backend, so far: the statistics of a transaction are told to others when it has ended.
READ = """
SELECT CAST(sum(pg_stat_get_xact_tuples_returned(oid)) AS bigint) FROM pg_class
WHERE relname = ANY ($1) OR oid = ANY (SELECT indexrelid FROM pg_index WHERE indrelid::regclass::text = ANY ($1))
"""
A_LOT = 5_000
GROUP = 5
EACH = 12
"""Index entries and rows that may be read for one message: its user, chat, member, nonce, and the foreign keys'."""


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def grow(connection: asyncpg.Connection, count: int) -> None:
    """So many users more, all in one chat to which they came one after the other; each has a message in another."""
    await connection.execute(
        f"""
        INSERT INTO users (username, username_key, password)
        SELECT u, u, '' FROM (SELECT gen_random_uuid()::text AS u FROM generate_series(1, {count})) AS made;
        INSERT INTO chats (is_group, last_seq) SELECT true, 1 FROM generate_series(1, {count});
        INSERT INTO chat_members (user_id, chat_id, joined_at)
        SELECT id, 1, now() + id * interval '1 ms' FROM users ON CONFLICT DO NOTHING;
        INSERT INTO messages (chat_id, seq, sender_id, content, nonce)
        SELECT id, last_seq, (SELECT max(id) FROM users), '', id::text FROM chats
        ON CONFLICT DO NOTHING
        """
    )


async def append(connection: asyncpg.Connection, senders: list[int], nonce: str) -> None:
    """A message of each to the first chat, in one group."""
    size = len(senders)
    nonces = [f"{nonce}-{number}" for number in range(size)]
    rows = await connection.fetch(APPEND, senders, [1] * size, ["hello"] * size, nonces)
    assert [row["outcome"] for row in rows] == [0] * size


@pytest.mark.parametrize("known", [None, 0, 1, 2, 60], ids="{} of each".format)
async def test_a_message_is_stored_by_a_few_looks_into_indexes(
    fresh_database: FreshDatabase, known: int | None
) -> None:
    url = fresh_database()
    async with opened_database(url), connected(url) as other, connected(url) as connection:
        for table in TABLES:
            await other.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = false)")
        if known:
            await grow(other, known)
        if known is not None:
            await other.execute(f"VACUUM (ANALYZE) {', '.join(TABLES)}")
        if not known:
            await grow(other, 1)
        for number in range(7):  # by then PostgreSQL has a plan that it keeps
            await append(connection, [1], f"before-{number}")
        await grow(other, A_LOT)
        latest = [row["id"] for row in await other.fetch("SELECT id FROM users ORDER BY id DESC LIMIT $1", GROUP)]
        async with connection.transaction():
            before = await connection.fetchval(READ, TABLES)
            await append(connection, latest, "after")
            after = await connection.fetchval(READ, TABLES)
    assert 0 < after - before <= GROUP * EACH
