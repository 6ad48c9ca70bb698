"""A primary is lost, and its standby promoted: two real servers, and a replica that knows both addresses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from chatapp.errors import Unavailable
from tests.gateway.replicas import Client, Node, User, node
from tests.storage.private_postgres import PrivatePostgres, pair

pytestmark = [pytest.mark.alone]


async def until(condition: Callable[[], Awaitable[object]], timeout_s: float = 15) -> None:
    async with asyncio.timeout(timeout_s):
        while not await condition():
            await asyncio.sleep(0.02)


async def is_ready(replica: Node) -> bool:
    try:
        await replica.replica.probe_database()
    except Unavailable:
        return False
    return True


@pytest.fixture
async def servers() -> AsyncIterator[tuple[PrivatePostgres, PrivatePostgres]]:
    """The primary answers a commit when its standby has it too."""
    with pair() as (primary, standby):
        await primary.execute("ALTER SYSTEM SET synchronous_standby_names = 'standby'", "SELECT pg_reload_conf()")
        await until(lambda: primary.execute("SELECT sync_state = 'sync' FROM pg_stat_replication"))
        yield primary, standby


class Sender:
    """Sends one after another, each again under its nonce until it is acked, through whatever comes."""

    def __init__(self, replica: Node, user: User, chat_id: int) -> None:
        self._replica, self._user, self._chat_id = replica, user, chat_id
        self.acked: dict[int, str] = {}
        self.refused = 0
        self.enough = asyncio.Event()

    async def run(self) -> None:
        number = 0
        while not self.enough.is_set():
            try:
                sent = await self._replica.replica.messages.send(
                    self._user.principal, self._chat_id, str(number), f"n{number}"  # type: ignore[arg-type]
                )
            except Unavailable:
                self.refused += 1
                await asyncio.sleep(0.02)
            else:
                self.acked[sent.message.seq] = str(number)
                number += 1

    async def has_acked(self, more: int) -> None:
        goal = len(self.acked) + more
        async with asyncio.timeout(15):
            while len(self.acked) < goal:
                await asyncio.sleep(0.01)


async def test_a_replica_finds_the_promoted_standby_and_nothing_that_was_acked_is_lost(
    servers: tuple[PrivatePostgres, PrivatePostgres], redis_url: str
) -> None:
    primary, standby = servers
    from tests.gateway.replicas import migrated

    await migrated(primary.url())
    async with node(primary.url(standby), redis_url, "wire") as replica:
        ada = await replica.somebody("ada")
        chat_id = await replica.group(ada)
        client: Client = await replica.connect(ada)
        epoch = client.ready["epoch"]
        sender = Sender(replica, ada, chat_id)
        sending = asyncio.ensure_future(sender.run())
        await sender.has_acked(50)

        primary.kill()
        await until(lambda: asyncio.sleep(0, sender.refused))
        assert not await is_ready(replica)
        assert await standby.execute("SELECT pg_promote()")
        await until(lambda: is_ready(replica))
        await sender.has_acked(50)
        sender.enough.set()
        await sending

        page = await standby.execute(
            f"SELECT json_object_agg(seq, content)::text FROM messages WHERE chat_id = {chat_id}"
        )
        import json

        kept = {int(seq): content for seq, content in json.loads(str(page)).items()}
        assert sender.acked.items() <= kept.items()
        assert sorted(kept) == list(range(1, len(kept) + 1))
        # PostgreSQL cannot tell a promotion that lost nothing from one that did: everybody starts over.
        assert (await client.closed())[0] == 1012
        assert (await replica.connect(ada)).ready["epoch"] != epoch
