"""Who is online, kept by a real Redis, alone, behind Sentinels and in a cluster."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis import Redis

from chatapp.bus.client import open_client
from chatapp.bus.presence import PresenceStore, RedisPresence
from chatapp.errors import Unavailable
from chatapp.protocol.ids import UserId
from tests.bus.private_cluster import PrivateCluster, PrivateSentinels
from tests.bus.private_valkey import PrivateValkey
from tests.gateway.presence_world import MemoryPresence

AFTER_S = 1.0
USERS = [UserId(number) for number in range(1, 8)]
Wait = Callable[[float], None]


@asynccontextmanager
async def opened(store: PresenceStore) -> AsyncIterator[PresenceStore]:
    try:
        yield store
    finally:
        await store.close()


async def everybody(store: PresenceStore) -> set[int]:
    return {user async for users in store.everybody() for user in users}


@pytest.fixture(params=["memory", "redis"])
async def kept(request: pytest.FixtureRequest) -> AsyncIterator[tuple[PresenceStore, Wait]]:
    """A store that is empty, and how to let time pass."""
    if request.param == "memory":
        memory = MemoryPresence(AFTER_S)

        def advance(seconds: float) -> None:
            memory.now += seconds

        yield memory, advance
        return
    url = request.getfixturevalue("redis_url")
    with Redis.from_url(url) as redis:
        redis.delete("chatapp:{presence}:online", "chatapp:{presence}:clock")
    async with opened(RedisPresence(open_client("single", url), AFTER_S)) as store:
        yield store, time.sleep


async def settle(store: PresenceStore, wait: Wait, *users: UserId) -> None:
    """Let so much time pass that who is missing is offline. A machine that is busy begins anew."""
    for _ in range(100):
        if (await store.beat(users, remove=0)).settled:
            return
        wait(AFTER_S / 12)
    raise AssertionError("it did not settle")


async def test_the_first_to_vouch_is_told_who_came(kept: tuple[PresenceStore, Wait]) -> None:
    store, _ = kept
    assert (await store.beat(USERS[:2], remove=0)).came == USERS[:2]
    assert (await store.beat(USERS[:3], remove=0)).came == USERS[2:3]
    assert await everybody(store) == {1, 2, 3}
    assert (await store.seen(USERS[2:4])).online == [True, False]


async def test_one_call_alone_is_told_who_went(kept: tuple[PresenceStore, Wait]) -> None:
    store, wait = kept
    first = await store.beat(USERS[:3], remove=10)
    assert not first.settled
    await settle(store, wait, USERS[0])
    removed = await store.beat([USERS[1]], remove=1)
    assert removed.settled
    assert [gone.user_id for gone in removed.gone] == USERS[2:3]
    assert first.at == pytest.approx(removed.gone[0].last_seen, abs=0.001)
    assert (await store.beat([], remove=10)).gone == []
    assert await everybody(store) == {1, 2}


async def test_after_a_time_without_calls_nobody_is_removed_before_all_could_vouch(
    kept: tuple[PresenceStore, Wait],
) -> None:
    store, wait = kept
    await settle(store, wait, USERS[0])
    wait(AFTER_S / 2)
    back = await store.beat([], remove=10)
    assert (back.settled, back.gone) == (False, [])
    await settle(store, wait, USERS[0])
    assert (await store.beat([], remove=10)).settled
    assert await everybody(store) == {1}


async def test_who_is_ended_is_gone_once(kept: tuple[PresenceStore, Wait]) -> None:
    store, _ = kept
    await store.beat(USERS[:1], remove=0)
    assert await store.end(USERS[0])
    assert not await store.end(USERS[0])


async def test_more_than_one_piece_is_read_whole(redis_url: str) -> None:
    users = [UserId(number) for number in range(10**9, 10**9 + 3000)]
    async with opened(RedisPresence(open_client("single", redis_url), AFTER_S)) as store:
        for at in range(0, len(users), 200):
            await store.beat(users[at : at + 200], remove=0)
        assert set(users) <= await everybody(store)
    with Redis.from_url(redis_url) as redis:
        redis.delete("chatapp:{presence}:online")


async def keeps(store: PresenceStore) -> None:
    assert (await store.beat(USERS[:2], remove=1)).came == USERS[:2]
    assert (await store.seen(USERS[:1])).online == [True]
    assert await everybody(store) == {1, 2}
    assert await store.end(USERS[0])
    assert await store.end(USERS[1])


async def test_a_cluster_keeps_it(cluster: PrivateCluster) -> None:
    nodes = [("127.0.0.1", node.port) for node in cluster.masters]
    async with opened(RedisPresence(open_client("cluster", cluster.masters[2].url, nodes=nodes), 30)) as store:
        await keeps(store)


async def test_the_master_behind_sentinels_keeps_it(sentinels: PrivateSentinels) -> None:
    nodes = [("127.0.0.1", sentinel.port) for sentinel in sentinels.sentinels]
    client = open_client("sentinel", "redis://nowhere", nodes=nodes, sentinel_master=sentinels.name)
    async with opened(RedisPresence(client, 30)) as store:
        await keeps(store)


async def test_with_a_password_and_rules_that_allow_no_more_than_it_needs(tmp_path: Path) -> None:
    server = PrivateValkey(
        tmp_path,
        "secret",
        settings="user chatapp on >pass resetchannels -@all ~chatapp:{presence}:* +ping +client|setinfo +hello "
        "+eval +time +hmget +hset +zadd +zrangebyscore +zrem +zscore +zscan +expire\n",
    )
    server.start()
    try:
        url = f"redis://chatapp:pass@127.0.0.1:{server.port}/0"
        async with opened(RedisPresence(open_client("single", url), 30)) as store:
            await keeps(store)
        refused = url.replace("pass", "wrong")
        async with opened(RedisPresence(open_client("single", refused), 30)) as store:
            with pytest.raises(Unavailable):
                await store.beat([], remove=1)
        server.freeze()
        async with opened(RedisPresence(open_client("single", url), 30)) as store:
            async with asyncio.timeout(8):
                with pytest.raises(Unavailable):
                    await store.seen(USERS)
    finally:
        server.thaw()
        server.kill()
