"""One sender on an idle system: from sending to the ack, beside what PostgreSQL alone takes for the row."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

import asyncpg
import uvloop

from bench.generator import Client
from bench.machine import pinned
from bench.results import Curve, Finding, Series, Target, ratios
from bench.rig import Rig, say
from bench.workloads.rooms import CONTENT, command
from bench.world import World, blocks

_MESSAGES = 1000
_PEOPLE = 1000
_EARLIER = 20_000

# The table of the messages with its indexes and checks, without its foreign keys.
_TABLE = "CREATE TABLE IF NOT EXISTS bench_rows (LIKE messages INCLUDING ALL)"
_ROW = "INSERT INTO bench_rows (chat_id, seq, sender_id, content) VALUES ($1, $2, $3, $4) RETURNING id, created_at"


def run(rig: Rig, rounds: int) -> list[Finding | Curve]:
    """Medians of 1,000, in turns."""
    acks: list[float] = []
    inserts: list[float] = []
    transactions: list[float] = []
    with lone_sender(rig) as median_ack_us:
        for at in range(rounds):
            acks.append(median_ack_us())
            with pinned({rig.cores.server}):
                insert, transaction = uvloop.run(_insert(rig.database_url, at * 4 * _MESSAGES))
            inserts.append(insert)
            transactions.append(transaction)
            say(
                f"  {at + 1}/{rounds} ack after {acks[-1]:.0f} µs, bare insert {insert:.0f} µs, "
                f"in a transaction {transaction:.0f} µs"
            )
    return [
        Finding(
            "lone",
            "Median from sending to the ack of a lone sender, over a bare INSERT and COMMIT through asyncpg",
            ratios("median", acks, inserts),
            Target("at most", 1.5),
            [
                Series("service", "µs", acks),
                Series("INSERT", "µs", inserts),
                Series("BEGIN, INSERT, COMMIT", "µs", transactions),
            ],
            "The bare one is a single prepared statement that commits by itself, in a table of the same shape without "
            "foreign keys; the ack is on disk too.",
        )
    ]


@contextmanager
def lone_sender(rig: Rig) -> Iterator[Callable[[], float]]:
    """A replica and its only client. Call it for the median from sending to the ack, in µs, of 1,000 messages.

    The client is one of 1,000 people and 20,000 messages are there: PostgreSQL plans by what the tables hold.
    """

    async def furnish(world: World) -> tuple[str, int]:
        people = await world.people(_PEOPLE)
        chat_ids = await world.chats(blocks(people, 2, 1))
        await world.messages(chat_ids[-1], people[-1], _EARLIER)
        return people[0].token, chat_ids[0]

    token, chat_id = rig.furnish(furnish)
    with rig.replica() as server:
        client = Client(server.port, f"/ws?token={token}", 1, command(chat_id))
        with rig.clients([client]) as generator:
            generator.connect()
            generator.send(1, 1, 200, "ack")
            yield lambda: float(generator.send(1, 1, _MESSAGES, "ack").p50_us)


async def _insert(url: str, first: int) -> tuple[float, float]:
    """The medians in µs: committing by itself, and in a transaction of its own. ``first``: where to number on."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_TABLE)
        insert = await connection.prepare(_ROW)
        took: list[float] = []
        for seq in range(first, first + _MESSAGES + 200):
            began = time.perf_counter()
            await insert.fetchrow(1, seq, 1, CONTENT)
            took.append((time.perf_counter() - began) * 1e6)
        within: list[float] = []
        for seq in range(first + 2 * _MESSAGES, first + 3 * _MESSAGES):
            began = time.perf_counter()
            async with connection.transaction():
                await insert.fetchrow(1, seq, 1, CONTENT)
            within.append((time.perf_counter() - began) * 1e6)
        return median(took[200:]), median(within)
    finally:
        await connection.close()
