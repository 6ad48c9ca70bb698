"""What is done to the cluster: each fault is a named act that ends with its healing."""

from __future__ import annotations

import asyncio
import contextlib
import signal

import asyncpg

from tests.chaos.arena import Act, Arena
from tests.chaos.proxy import Weather
from tests.chaos.redis_faults import REDIS_FAULTS
from tests.chaos.redis_sites import RedisMode


async def kill_replica(arena: Arena) -> None:
    """SIGKILL, and a new process in its place."""
    replica, pause_s = arena.any_replica, arena.rng.uniform(0, 1)
    async with replica.process.lock:
        await replica.process.kill()
        await asyncio.sleep(pause_s)
        await replica.restart()


async def freeze_replica(arena: Arena) -> None:
    """SIGSTOP for up to four seconds: its sockets stay open and say nothing."""
    replica, pause_s = arena.any_replica, arena.rng.uniform(0.5, 4)
    async with replica.process.lock:
        replica.process.send(signal.SIGSTOP)
        await asyncio.sleep(pause_s)
        replica.process.send(signal.SIGCONT)


async def terminate_backends(arena: Arena) -> None:
    """pg_terminate_backend on every client's backend."""
    async with arena.cluster.postgres.lock:
        with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
            async with arena.cluster.database() as connection:
                await connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
                )


async def crash_postgres(arena: Arena) -> None:
    """An immediate stop, as at a loss of power, and the recovery."""
    pause_s = arena.rng.uniform(0, 1)
    async with arena.cluster.postgres.lock:
        await arena.cluster.postgres.end(signal.SIGQUIT, patience_s=10)
        await asyncio.sleep(pause_s)
        await arena.cluster.start_postgres()


async def hold_a_chat(arena: Arena) -> None:
    """Another transaction holds the rows of some chats for up to three seconds."""
    pause_s = arena.rng.uniform(0.5, 3)
    async with arena.cluster.postgres.lock:
        with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
            async with arena.cluster.database() as connection, connection.transaction():
                await connection.execute("SELECT FROM chats WHERE id % 2 = 0 ORDER BY id FOR UPDATE")
                await asyncio.sleep(pause_s)


async def restart_one_by_one(arena: Arena) -> None:
    """A deploy: SIGTERM, drain, start, the next."""
    for replica in arena.cluster.replicas:
        async with replica.process.lock:
            await replica.drain()
            await replica.restart()


async def reset_links(arena: Arena) -> None:
    """RST on half of one replica's connections."""
    for link in arena.any_replica.proxy.links:
        if arena.rng.random() < 0.5:
            link.reset()


async def vanish(arena: Arena) -> None:
    """A third of all sockets go silent for ever: no FIN, no RST, nothing more in either direction."""
    for replica in arena.cluster.replicas:
        for link in replica.proxy.links:
            if arena.rng.random() < 0.3:
                link.go_silent()


async def stop_reading(arena: Arena) -> None:
    """A quarter of all receivers read nothing for up to five seconds, while others write two megabytes to a chat."""
    links = [link for replica in arena.cluster.replicas for link in replica.proxy.links if arena.rng.random() < 0.25]
    for link in links:
        link.stall()
    async with asyncio.TaskGroup() as group:
        group.create_task(arena.crowd.flood(arena.rng))
        await asyncio.sleep(arena.rng.uniform(1, 5))
        for link in links:
            link.resume()


async def slow_network(arena: Arena) -> None:
    """One replica's bytes come late and in small pieces."""
    weather = arena.any_replica.proxy.weather
    weather.delay_s, weather.slice_bytes = arena.rng.uniform(0.001, 0.05), arena.rng.randrange(20, 500)
    await asyncio.sleep(arena.rng.uniform(0.5, 2))
    calm = Weather()
    weather.delay_s, weather.slice_bytes = calm.delay_s, calm.slice_bytes


async def send_twice(arena: Arena) -> None:
    """Messages whose nonces are sent from two devices at once, mostly at different replicas."""
    client = arena.rng.choice(arena.crowd.clients)
    twin = arena.crowd.twin_of(client)
    running = asyncio.create_task(twin.run())
    try:
        async with asyncio.timeout(15):
            for _ in range(5):
                chat_id, content = arena.rng.choice(list(client.follower.chats)), arena.crowd.content(arena.rng)
                nonce = f"twice-{arena.rng.randrange(2**60)}"
                await asyncio.gather(
                    client.sender.send_as(chat_id, content, nonce, first=True),
                    twin.sender.send_as(chat_id, content, nonce, first=False),
                )
    except TimeoutError:
        pass  # of unknown end; the checker holds those that were acked against the rows
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def change_in_a_burst(arena: Arena) -> None:
    """Many edit and delete at once."""
    clients = arena.rng.sample(arena.crowd.clients, k=min(8, len(arena.crowd.clients)))
    await asyncio.gather(*(arena.crowd.change(client, arena.rng) for client in clients))


async def remove_and_add(arena: Arena) -> None:
    """Somebody is removed from a chat in mid-stream, and added again."""
    await arena.crowd.remove_and_add(arena.rng, arena.rng.uniform(0, 1.5))


_FAULTS: dict[str, Act] = {
    "replica killed": kill_replica,
    "replica frozen": freeze_replica,
    "postgres backends terminated": terminate_backends,
    "postgres crashed": crash_postgres,
    "chat rows held": hold_a_chat,
    "rolling restart": restart_one_by_one,
    "links reset": reset_links,
    "sockets vanished": vanish,
    "receivers stopped reading": stop_reading,
    "network slow": slow_network,
    "nonces sent twice": send_twice,
    "edits and deletions": change_in_a_burst,
    "member removed and added": remove_and_add,
}


def faults(mode: RedisMode) -> dict[str, Act]:
    """By name: those that do not depend on how Redis is run, and those of this mode."""
    return _FAULTS | REDIS_FAULTS[mode]
