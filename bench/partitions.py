"""Messages in one table and in sixteen partitions, in turns: ``python -m bench.partitions``. Takes about two minutes.

The figures of docs/decisions/0007. The SQL that divides the table is that page's own.
"""

from __future__ import annotations

import asyncio
import random
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median

from sqlalchemy import make_url, text

from bench.backing import backing, fresh_database, on_database
from bench.world import Person, World
from chatapp.protocol.ids import ChatId, MessageId, Seq, UserId
from chatapp.storage import messages, migrate
from chatapp.storage.engine import Database, PoolSettings

PAGE = Path(__file__).resolve().parent.parent / "docs" / "decisions" / "0007-one-table-of-messages.md"
CHATS, LENGTH, GROUP, ROUNDS, TIMES = 500, 1000, 100, 7, 150
_STATEMENT = "SELECT * FROM append_messages($1::bigint[], $2::bigint[], $3::text[], $4::text[], true)"


class Side:
    """One of the two databases."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.database = Database(
            make_url(url).set(drivername="postgresql+asyncpg"), PoolSettings(size=2, statement_timeout_ms=600_000)
        )
        self.person: Person
        self.chats: list[int] = []
        self.ids: list[int] = []

    async def furnish(self, sql: str) -> None:
        await migrate.upgrade(self.database.engine.url)
        async with self.database.driver() as driver:
            world = World(driver, b"k" * 32)
            (self.person,) = await world.people(1)
            self.chats = await world.chats([[self.person]] * CHATS)
            await driver.execute(
                "INSERT INTO messages (chat_id, seq, sender_id, content, nonce, nonce_digest) "
                f"SELECT c, i, {self.person.user_id}, 'message number ' || i, c || '-' || i, md5(i::text)::uuid "
                f"FROM generate_series(1, {LENGTH}) i, unnest($1::bigint[]) c",
                self.chats,
                timeout=300,
            )
            await driver.execute(f"UPDATE chats SET last_seq = {LENGTH}")
            if sql:
                await driver.execute(sql, timeout=300)
            await driver.execute("VACUUM ANALYZE", timeout=300)
            self.ids = [row[0] for row in await driver.fetch("SELECT id FROM messages ORDER BY random() LIMIT 2000")]

    async def send(self) -> None:
        """A group, as a busy replica stores it: with nonces, in as many chats as there are messages."""
        chats = random.sample(self.chats, GROUP)
        nonces = [secrets.token_hex(8) for _ in chats]
        async with self.database.driver() as driver:
            await driver.fetch(_STATEMENT, [self.person.user_id] * GROUP, chats, ["hello"] * GROUP, nonces)

    async def page(self) -> None:
        chat_id, before = ChatId(random.choice(self.chats)), Seq(random.randrange(100, LENGTH))
        found = await messages.history(self.database, chat_id, UserId(self.person.user_id), limit=50, before=before)
        assert found is not None
        assert len(found) == 50

    async def one(self) -> None:
        message, _ = await messages.get_for(
            self.database, MessageId(random.choice(self.ids)), UserId(self.person.user_id)
        )
        assert message is not None


async def took_us(act: Callable[[], Awaitable[None]]) -> float:
    """The median of many."""
    times = []
    for _ in range(TIMES):
        begun = time.perf_counter()
        await act()
        times.append(time.perf_counter() - begun)
    return median(times) * 1e6


async def compare(whole: Side, divided: Side, sql: str) -> None:
    """Print a table."""
    await whole.furnish("")
    await divided.furnish(sql)
    print(f"| median µs of {ROUNDS} rounds (lowest, highest) | one table | 16 partitions |\n|---|---|---|")
    for name, act in (
        (f"a group of {GROUP} sends, with nonces", Side.send),
        ("a page of 50", Side.page),
        ("one message by its id", Side.one),
    ):
        found: tuple[list[float], list[float]] = ([], [])
        for at in range(ROUNDS + 1):
            for side, times in zip((whole, divided), found, strict=True):
                took = await took_us(partial(act, side))
                if at:  # the first warms up
                    times.append(took)
        cells = [f"{median(times):,.0f} ({min(times):,.0f}, {max(times):,.0f})" for times in found]
        print(f"| {name} | {cells[0]} | {cells[1]} |", flush=True)
    async with divided.database.read() as connection:
        count = (await connection.execute(text("SELECT count(*) FROM messages"))).scalar()
    print(f"\n{count:,} messages in {CHATS} chats")
    await whole.database.close()
    await divided.database.close()


def main() -> None:
    """Measure on an own PostgreSQL, or that of DATABASE_URL and REDIS_URL."""
    (sql,) = re.findall(r"```sql\n(.*?)```", PAGE.read_text(), re.DOTALL)
    with ExitStack() as stack:
        given = stack.enter_context(backing())
        version = on_database(given.database_url, lambda connection: connection.fetchval("SHOW server_version"))
        print(f"PostgreSQL {version}")
        urls = [stack.enter_context(fresh_database(given.database_url)) for _ in range(2)]
        asyncio.run(compare(Side(urls[0]), Side(urls[1]), sql))


if __name__ == "__main__":
    main()
