"""Two real servers, a primary and its standby, and a replica that knows both: reading, and a failover at the end.

They are dear, so all tests share them: each leaves them as it found them, but for the last, which loses the primary.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from chatapp.errors import NotAMember, Unavailable
from chatapp.protocol.ids import ChatId
from chatapp.protocol.views import Message
from chatapp.storage.standby import Standby
from tests.gateway.replicas import Node, User, migrated, node
from tests.storage.private_postgres import PrivatePostgres, pair

pytestmark = [pytest.mark.alone]


class Pair:
    """The servers, and a replica over them that reads from the standby."""

    def __init__(self, primary: PrivatePostgres, standby: PrivatePostgres, replica: Node) -> None:
        self.primary, self.standby, self.replica = primary, standby, replica
        reads = replica.replica.standby
        assert reads is not None
        self.reads: Standby = reads

    async def page(self, user: User, chat_id: ChatId, limit: int = 100) -> list[Message]:
        """Newest first."""
        messages = self.replica.replica.messages
        return await messages.history(user.principal, chat_id, limit=limit, offset=0, before=None, after=None)

    async def caught_up(self) -> None:
        """The standby has all that is committed now."""
        written = await self.primary.execute("SELECT pg_current_wal_lsn()::text")
        await until(lambda: self.standby.execute(f"SELECT pg_last_wal_replay_lsn() >= '{written}'"))
        await self.reads.watch()

    async def is_ready(self) -> bool:
        try:
            await self.replica.replica.probe_database()
        except Unavailable:
            return False
        return True


async def until(condition: Callable[[], Awaitable[object]], timeout_s: float = 15) -> None:
    async with asyncio.timeout(timeout_s):
        while not await condition():
            await asyncio.sleep(0.02)


@pytest.fixture(autouse=True)
def nothing_published_yet() -> None:
    """There is no world here that publishes."""


@pytest.fixture(scope="module")
async def servers(redis_url: str) -> AsyncIterator[Pair]:
    with pair() as (primary, standby):
        await migrated(primary.url())
        settings = {"postgres_db__read_url": standby.url()}
        async with node(primary.url(standby), redis_url, "wire", **settings) as replica:
            yield Pair(primary, standby, replica)


async def test_history_comes_from_the_standby_once_it_has_all_that_was_acked(servers: Pair) -> None:
    ada = await servers.replica.somebody("ada")
    chat_id = await servers.replica.group(ada)
    await servers.replica.send(ada, chat_id, "1", "2", "3")
    await servers.caught_up()
    answered = servers.reads.stats.answered
    assert [message.content for message in await servers.page(ada, chat_id)] == ["3", "2", "1"]
    assert servers.reads.stats.answered == answered + 1


async def test_what_was_acked_is_read_however_far_the_standby_is_behind(servers: Pair) -> None:
    ada = await servers.replica.somebody("ada")
    chat_id = await servers.replica.group(ada)
    await servers.replica.send(ada, chat_id, "1", "2")
    await servers.caught_up()
    await servers.standby.execute("SELECT pg_wal_replay_pause()")
    try:
        behind = servers.reads.stats.behind
        for content in ("3", "4"):
            await servers.replica.send(ada, chat_id, content)
            assert (await servers.page(ada, chat_id))[0].content == content
        edited = (await servers.page(ada, chat_id))[-1]
        await servers.replica.replica.messages.edit(ada.principal, edited.id, "changed")
        assert (await servers.page(ada, chat_id))[-1].content == "changed"
        await servers.replica.replica.messages.delete(ada.principal, edited.id)
        assert [message.content for message in await servers.page(ada, chat_id)] == ["4", "3", "2"]
        assert servers.reads.stats.behind >= behind + 4
    finally:
        await servers.standby.execute("SELECT pg_wal_replay_resume()")
    await servers.caught_up()
    assert [message.content for message in await servers.page(ada, chat_id)] == ["4", "3", "2"]


async def test_who_was_removed_is_refused_although_the_standby_knows_nothing_of_it(servers: Pair) -> None:
    ada, bob = await servers.replica.somebody("ada"), await servers.replica.somebody("bob")
    chat_id = await servers.replica.group(ada, bob)
    await servers.caught_up()
    await servers.page(bob, chat_id)
    await servers.standby.execute("SELECT pg_wal_replay_pause()")
    try:
        await servers.replica.replica.members.remove(ada.principal, chat_id, bob.id)
        with pytest.raises(NotAMember):
            await servers.page(bob, chat_id)
    finally:
        await servers.standby.execute("SELECT pg_wal_replay_resume()")


async def test_the_search_for_users_is_behind_by_the_limit_at_most(servers: Pair) -> None:
    clock = servers.reads._clock
    users = servers.replica.replica.users
    ada = await servers.replica.somebody("searched")
    await servers.caught_up()
    answered = servers.reads.stats.answered
    assert [user.id for user in await users.page(limit=5, offset=0, q=ada.name)] == [ada.id]
    assert servers.reads.stats.answered == answered + 1
    await servers.standby.execute("SELECT pg_wal_replay_pause()")
    try:
        bob = await servers.replica.somebody("searched")
        await servers.reads.watch()
        assert servers.reads.behind_s < 5
        servers.reads._clock = lambda: clock() + 6
        await servers.reads.watch()
        assert servers.reads.behind_s > 5
        assert [user.id for user in await users.page(limit=5, offset=0, q=bob.name)] == [bob.id]
        assert servers.reads.stats.answered == answered + 1
    finally:
        servers.reads._clock = clock
        await servers.standby.execute("SELECT pg_wal_replay_resume()")


async def test_a_standby_of_another_past_is_not_read_from(servers: Pair) -> None:
    ada = await servers.replica.somebody("ada")
    chat_id = await servers.replica.group(ada)
    await servers.caught_up()
    await servers.standby.execute("SELECT pg_wal_replay_pause()")
    try:
        # As after a failover to another standby, of which this one knows nothing.
        await servers.primary.execute("UPDATE epochs SET epoch = gen_random_uuid()::text")
        behind = servers.reads.stats.behind
        await servers.page(ada, chat_id)
        assert servers.reads.stats.behind == behind + 1
        await servers.reads.watch()
        assert servers.reads.behind_s == float("inf")
    finally:
        await servers.standby.execute("SELECT pg_wal_replay_resume()")
    await servers.caught_up()
    assert servers.reads.behind_s < 5
    await servers.replica.replica._recognise()  # now, and not while a later test is connected


async def test_while_the_standby_is_away_the_primary_answers(servers: Pair) -> None:
    ada = await servers.replica.somebody("ada")
    chat_id = await servers.replica.group(ada)
    await servers.replica.send(ada, chat_id, "1")
    await servers.caught_up()
    servers.standby.kill()
    for _ in range(3):
        assert [message.content for message in await servers.page(ada, chat_id)] == ["1"]
        assert await servers.replica.replica.users.page(limit=5, offset=0, q=ada.name)
    assert servers.reads.stats.failed >= 1
    servers.standby.start()
    await servers.caught_up()
    answered = servers.reads.stats.answered
    await servers.page(ada, chat_id)
    assert servers.reads.stats.answered == answered + 1


async def test_a_server_that_takes_no_writes_is_not_ready_and_its_connections_are_given_up(servers: Pair) -> None:
    ada = await servers.replica.somebody("ada")
    chat_id = await servers.replica.group(ada)
    losses = servers.replica.replica.database.losses
    await servers.primary.execute(
        "ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()", "SELECT 1"
    )
    try:
        await until(lambda: is_refused(servers, ada, chat_id))
        assert not await servers.is_ready()
        assert servers.replica.replica.database.losses > losses
    finally:
        await servers.primary.execute(
            "SET default_transaction_read_only = off",
            "ALTER SYSTEM RESET default_transaction_read_only",
            "SELECT pg_reload_conf()",
        )
    await until(servers.is_ready)
    await servers.replica.send(ada, chat_id, "yes")


async def is_refused(servers: Pair, user: User, chat_id: ChatId) -> bool:
    """Whether a send is."""
    try:
        await servers.replica.send(user, chat_id, "no")
    except Unavailable:
        return True
    return False


class Sender:
    """Sends one after another, each again under its nonce until it is acked, through whatever comes."""

    def __init__(self, replica: Node, user: User, chat_id: ChatId) -> None:
        self._replica, self._user, self._chat_id = replica, user, chat_id
        self.acked: dict[int, str] = {}
        self.refused = 0
        self.enough = False

    async def run(self) -> None:
        messages, number = self._replica.replica.messages, 0
        while not self.enough:
            try:
                sent = await messages.send(self._user.principal, self._chat_id, str(number), f"n{number}")
            except Unavailable:
                self.refused += 1
                await asyncio.sleep(0.02)
            else:
                self.acked[sent.message.seq] = str(number)
                number += 1

    async def has_acked(self, more: int) -> None:
        goal = len(self.acked) + more
        await until(lambda: asyncio.sleep(0, len(self.acked) >= goal))


async def test_a_replica_finds_the_promoted_standby_and_nothing_that_was_acked_is_lost(servers: Pair) -> None:
    primary, standby, replica = servers.primary, servers.standby, servers.replica
    await primary.execute("ALTER SYSTEM SET synchronous_standby_names = 'standby'", "SELECT pg_reload_conf()")
    await until(lambda: primary.execute("SELECT sync_state = 'sync' FROM pg_stat_replication"))
    ada = await replica.somebody("ada")
    chat_id = await replica.group(ada)
    client = await replica.connect(ada)
    epoch = client.ready["epoch"]
    sender = Sender(replica, ada, chat_id)
    sending = asyncio.ensure_future(sender.run())
    await sender.has_acked(50)

    primary.kill()
    await until(lambda: asyncio.sleep(0, sender.refused))
    assert not await servers.is_ready()
    assert await standby.execute("SELECT pg_promote()")
    await until(servers.is_ready)
    await sender.has_acked(50)
    sender.enough = True
    await sending

    rows = await standby.execute(f"SELECT json_object_agg(seq, content)::text FROM messages WHERE chat_id = {chat_id}")
    kept = {int(seq): content for seq, content in json.loads(str(rows)).items()}
    assert sender.acked.items() <= kept.items()
    assert sorted(kept) == list(range(1, len(kept) + 1))
    # PostgreSQL cannot tell a promotion that lost nothing from one that did: everybody starts over.
    assert (await client.closed())[0] == 1012
    assert (await replica.connect(ada)).ready["epoch"] != epoch
