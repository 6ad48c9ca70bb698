"""What is done to the Redis of a run, by its mode. Each act ends with its healing."""

from __future__ import annotations

import asyncio
import contextlib
import random

from redis.exceptions import RedisError

from tests.bus.private_valkey import PrivateValkey
from tests.chaos.arena import Act, Arena
from tests.chaos.redis_sites import RedisCluster, RedisMode, SentinelRedis

_SQUEEZED = "pubsub 4096 1024 1"
_AMPLE = "pubsub 32mb 8mb 60"


async def kill_master(arena: Arena) -> None:
    """SIGKILL; it comes back empty after up to two seconds, as a replica where another was chosen meanwhile."""
    site, pause_s = arena.cluster.redis, arena.rng.uniform(0, 2)
    async with site.lock:
        master = await _any_master(arena)
        await asyncio.to_thread(master.kill)
        await asyncio.sleep(pause_s)
        await asyncio.to_thread(master.start)
        await site.healed()


async def kill_master_until_another_is_chosen(arena: Arena) -> None:
    """SIGKILL; it comes back when its replica has taken over, and follows that one."""
    site = arena.cluster.redis
    async with site.lock:
        before = await site.masters()
        master = await _any_master(arena)
        await asyncio.to_thread(master.kill)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(15):
                while set(await site.masters()) <= set(before):
                    await asyncio.sleep(0.1)
        await asyncio.to_thread(master.start)
        await site.healed()


async def freeze_master(arena: Arena) -> None:
    """SIGSTOP for up to four seconds: connections stay, nothing is published or heard; it may wake up deposed."""
    site, pause_s = arena.cluster.redis, arena.rng.uniform(0.5, 4)
    async with site.lock:
        master = await _any_master(arena)
        master.freeze()
        await asyncio.sleep(pause_s)
        master.thaw()
        await site.healed()


async def cut_subscriptions(arena: Arena) -> None:
    """CLIENT KILL TYPE pubsub, three times: what is published meanwhile is gone, and nobody is told."""
    site = arena.cluster.redis
    async with site.lock:
        for _ in range(3):
            await site.tell_masters("CLIENT", "KILL", "TYPE", "pubsub")
            await asyncio.sleep(0.2)


async def pause_masters(arena: Arena) -> None:
    """CLIENT PAUSE: every command waits."""
    site, pause_ms = arena.cluster.redis, arena.rng.randrange(300, 2500)
    async with site.lock:
        await site.tell_masters("CLIENT", "PAUSE", pause_ms, "ALL")
        await asyncio.sleep(pause_ms / 1000)
        await site.healed()


async def squeeze_buffers(arena: Arena) -> None:
    """Subscribers with more than a few kilobytes unsent are dropped, as under a flood."""
    site = arena.cluster.redis
    async with site.lock:
        await site.tell_masters("CONFIG", "SET", "client-output-buffer-limit", _SQUEEZED)
        await asyncio.sleep(1)
        await site.tell_masters("CONFIG", "SET", "client-output-buffer-limit", _AMPLE)


async def flush(arena: Arena) -> None:
    """FLUSHALL: whatever the service keeps there is forgotten."""
    site = arena.cluster.redis
    async with site.lock:
        await site.tell_masters("FLUSHALL")


async def ask_sentinels_for_a_failover(arena: Arena) -> None:
    """SENTINEL FAILOVER: the master is demoted in good order, and ends its clients' connections."""
    site = arena.cluster.redis
    assert isinstance(site, SentinelRedis)
    async with site.lock:
        with contextlib.suppress(RedisError):  # the last one may be too fresh for another
            await asyncio.to_thread(site.group.sentinels[0].command, "SENTINEL", "FAILOVER", site.group.name)
        await asyncio.sleep(arena.rng.uniform(0, 2))
        await site.healed()


async def kill_sentinel(arena: Arena) -> None:
    """SIGKILL on one of three, for up to three seconds."""
    site, pause_s = arena.cluster.redis, arena.rng.uniform(0, 3)
    assert isinstance(site, SentinelRedis)
    async with site.lock:
        sentinel = arena.rng.choice(site.group.sentinels[1:])
        await asyncio.to_thread(sentinel.kill)
        await asyncio.sleep(pause_s)
        await asyncio.to_thread(sentinel.start)
        await site.healed()


async def ask_cluster_for_a_failover(arena: Arena) -> None:
    """CLUSTER FAILOVER at a replica: it takes its master's slots over in good order."""
    site = arena.cluster.redis
    assert isinstance(site, RedisCluster)
    async with site.lock:
        masters = await site.masters()
        replica = arena.rng.choice([server for server in site.servers if server not in masters])
        with contextlib.suppress(RedisError):
            await asyncio.to_thread(replica.command, "CLUSTER", "FAILOVER")
        await asyncio.sleep(arena.rng.uniform(0.2, 1))
        await site.healed()


async def move_slots(arena: Arena) -> None:
    """Twenty slots go from one master to another, one by one, as an operator's tool moves them."""
    site = arena.cluster.redis
    assert isinstance(site, RedisCluster)
    async with site.lock:
        masters = await site.masters()
        if len(masters) > 1:
            source, target = arena.rng.sample(masters, k=2)
            with contextlib.suppress(RedisError):
                await asyncio.to_thread(_move_slots, site, masters, source, target, arena.rng)
        await site.healed()


async def restart_the_cluster(arena: Arena) -> None:
    """SIGKILL on all nodes, and up to two seconds of nothing."""
    site, pause_s = arena.cluster.redis, arena.rng.uniform(0, 2)
    assert isinstance(site, RedisCluster)
    async with site.lock:
        await site.end()
        await asyncio.sleep(pause_s)
        await asyncio.to_thread(site.cluster.restart)
        await site.healed()


_COMMON: dict[str, Act] = {
    "valkey frozen": freeze_master,
    "subscriptions cut": cut_subscriptions,
    "valkey paused": pause_masters,
    "valkey buffers squeezed": squeeze_buffers,
    "valkey flushed": flush,
    "valkey killed": kill_master,
}

REDIS_FAULTS: dict[RedisMode, dict[str, Act]] = {
    "single": _COMMON,
    "sentinel": _COMMON
    | {
        "master replaced after its death": kill_master_until_another_is_chosen,
        "failover by request": ask_sentinels_for_a_failover,
        "sentinel killed": kill_sentinel,
    },
    "cluster": _COMMON
    | {
        "master replaced after its death": kill_master_until_another_is_chosen,
        "failover by request": ask_cluster_for_a_failover,
        "slots moved": move_slots,
        "all nodes killed": restart_the_cluster,
    },
}
"""By mode and name."""


async def _any_master(arena: Arena) -> PrivateValkey:
    """One that answers; a server that does not say what it is may be chosen when none does."""
    return arena.rng.choice(await arena.cluster.redis.masters() or arena.cluster.redis.servers)


def _move_slots(
    site: RedisCluster,
    masters: list[PrivateValkey],
    source: PrivateValkey,
    target: PrivateValkey,
    rng: random.Random,
) -> None:
    owned = [slot for first, last in _slots_of(source) for slot in range(first, last + 1)]
    for slot in rng.sample(owned, k=min(20, len(owned))):
        target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", site.cluster.id_of(source))
        source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", site.cluster.id_of(target))
        for node in (target, source, *(master for master in masters if master not in (source, target))):
            node.command("CLUSTER", "SETSLOT", slot, "NODE", site.cluster.id_of(target))


def _slots_of(node: PrivateValkey) -> list[tuple[int, int]]:
    slots = node.command("CLUSTER", "SLOTS")
    assert isinstance(slots, list)
    return [(int(first), int(last)) for first, last, master, *_ in slots if int(master[1]) == node.port]
