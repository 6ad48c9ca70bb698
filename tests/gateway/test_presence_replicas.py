"""Who is online, told by three real replicas over a Redis that is killed, and PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path

import pytest

from chatapp.protocol.ids import ChatId
from tests.bus.private_valkey import PrivateValkey
from tests.gateway.replicas import Client, Event, Node, User, node

AFTER_S = 1.6
Nodes = list[Node]


@pytest.fixture(scope="module")
async def nodes(gateway_database: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Nodes]:
    # In the Redis of all modules somebody of the same id may just have gone, of another module's database.
    redis = PrivateValkey(tmp_path_factory.mktemp("valkey"))
    redis.start()
    try:
        async with AsyncExitStack() as stack:
            yield [await stack.enter_async_context(keeping(gateway_database, redis.url)) for _ in range(3)]
    finally:
        redis.kill()


def keeping(database_url: str, redis_url: str) -> AbstractAsyncContextManager[Node]:
    return node(
        database_url,
        redis_url,
        "wire",
        presence__enabled="true",
        presence__offline_after_s=AFTER_S,
        presence__group_limit=3,
    )


async def direct(at: Node, one: User, other: User) -> ChatId:
    made = await at.replica.chats.create(one.principal, name="", is_group=False, member_ids=[other.id])
    return made.chat.id


async def statuses(client: Client, *users: User) -> list[tuple[int, str]]:
    """What the client is told when it asks."""
    client.heard.clear()
    await client.done("presence", {"user_ids": [user.id for user in users]})
    return [(e["payload"]["user_id"], e["payload"]["status"]) for e in client.heard if e["type"] == "presence"]


def told(client: Client, user: User) -> list[str]:
    return [
        e["payload"]["status"] for e in client.heard if e["type"] == "presence" and e["payload"]["user_id"] == user.id
    ]


async def test_coming_and_going_is_told_over_all_replicas_to_those_who_share_a_chat(nodes: Nodes) -> None:
    one, two, three = nodes
    ada, bob, eve = [await one.somebody(name) for name in ("ada", "bob", "eve")]
    await direct(one, ada, bob)
    watching, foreign = await one.connect(ada), await two.connect(eve)
    first = await two.connect(bob)
    await watching.until("presence", user_id=bob.id, status="online")
    second = await three.connect(bob)
    await first.close()
    assert await statuses(watching, bob, eve) == [(bob.id, "online")]
    assert await statuses(foreign, bob) == []
    await second.close()
    offline = await watching.until("presence", user_id=bob.id, status="offline")
    assert told(watching, bob) == ["online", "offline"]  # the answer, and what came after it
    async with asyncio.timeout(8):  # it is written in batches, after the others were told
        while (profile := await one.replica.users.get(bob.id)).last_seen is None:
            await asyncio.sleep(0.01)
    assert await statuses(watching, bob) == [(bob.id, "offline")]
    seen = watching.heard[0]["payload"]["last_seen"]
    assert seen.startswith(profile.last_seen.strftime("%Y-%m-%dT%H:%M:%S"))
    assert offline.get("last_seen", seen) == seen  # on a busy machine the comparison is first, and knows no time
    assert not [e for e in foreign.heard if e["type"] == "presence"]
    await asyncio.gather(watching.close(), foreign.close())


async def test_in_groups_past_the_limit_it_is_told_only_to_who_asks(nodes: Nodes) -> None:
    one, two, _ = nodes
    users = [await one.somebody() for _ in range(4)]
    await one.group(*users)
    friend = await one.somebody()
    await direct(one, users[0], friend)
    await one.group(users[0], users[1], users[2])
    watchers = {user.id: await one.connect(user) for user in (users[1], users[3], friend)}
    someone = await two.connect(users[0])
    await watchers[friend.id].until("presence", user_id=users[0].id)
    await watchers[users[1].id].until("presence", user_id=users[0].id)
    large_only = watchers[users[3].id]
    assert await statuses(large_only, users[0]) == [(users[0].id, "online")]
    assert len(large_only.heard) == 2  # the answer and the ack: nothing came by itself
    await asyncio.gather(someone.close(), *(client.close() for client in watchers.values()))


async def test_a_connection_that_follows_nothing_hears_nothing_until_it_joins(nodes: Nodes) -> None:
    one, two, _ = nodes
    ada, bob, cyd = [await one.somebody() for _ in range(3)]
    joined = await direct(one, ada, bob)
    await direct(one, ada, cyd)
    watching = await one.connect(ada, "&follow=none")
    await watching.done("join_chat", {"chat_id": joined})
    everything = await one.connect(ada)
    others = [await two.connect(cyd), await two.connect(bob)]
    await everything.until("presence", user_id=cyd.id)
    await watching.until("presence", user_id=bob.id)
    assert not told(watching, cyd)
    assert sorted(await statuses(watching, bob, cyd)) == sorted([(bob.id, "online"), (cyd.id, "online")])
    await asyncio.gather(watching.close(), everything.close(), *(other.close() for other in others))


async def test_who_is_deleted_vanishes(nodes: Nodes) -> None:
    one, two, _ = nodes
    ada, bob = await one.somebody(), await one.somebody()
    await direct(one, ada, bob)
    watching, gone = await one.connect(ada), await two.connect(bob)
    await watching.until("presence", user_id=bob.id, status="online")
    await two.replica.users.delete(bob.principal, bob.id)
    await gone.closed()
    await watching.until("member_removed")
    assert await statuses(watching, bob) == []
    await watching.close()


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        ({}, "validation_failed"),
        ({"user_ids": []}, "validation_failed"),
        ({"user_ids": [0]}, "validation_failed"),
        ({"user_ids": list(range(1, 102))}, "validation_failed"),
        ({"user_ids": ["1"]}, "validation_failed"),
    ],
)
async def test_a_bad_question_is_refused(nodes: Nodes, payload: Event, code: str) -> None:
    client = await nodes[0].connect(await nodes[0].somebody())
    assert await client.refused("presence", payload) == code
    await client.close()


async def test_a_redis_that_is_killed_takes_nobody_offline(gateway_database: str, tmp_path: Path) -> None:
    redis = PrivateValkey(tmp_path)
    redis.start()
    try:
        async with keeping(gateway_database, redis.url) as one, keeping(gateway_database, redis.url) as two:
            ada, bob, cyd = [await one.somebody() for _ in range(3)]
            await direct(one, ada, bob)
            await direct(one, ada, cyd)
            watching, _, leaving = await one.connect(ada), await two.connect(bob), await two.connect(cyd)
            await watching.until("presence", user_id=bob.id)
            watching.heard.clear()
            redis.kill()
            await leaving.close()
            chat = await direct(one, ada, bob)
            await watching.send(chat, "redis is away")
            redis.start()
            offline = await watching.until("presence", user_id=cyd.id, status="offline")
            assert offline["status"] == "offline"
            assert "offline" not in told(watching, bob)
            assert await statuses(watching, bob, cyd) == [(bob.id, "online"), (cyd.id, "offline")]
    finally:
        redis.kill()


async def test_where_it_is_switched_off_nobody_is_told_and_who_asks_hears_so(
    gateway_database: str, redis_url: str
) -> None:
    async with node(gateway_database, redis_url, "wire") as one:
        client = await one.connect(await one.somebody())
        assert await client.refused("presence", {"user_ids": [1]}) == "unavailable"
        await client.close()
