"""A hundred hostile clients of each kind: what each of them costs in memory, and what it costs the others."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import pytest
from msgspec import Struct

from tests.acceptance.client import Account, rests
from tests.acceptance.raw import Wire, handshake, masked, request, upgraded
from tests.acceptance.replicas import ReplicaProcess, Replicas

pytestmark = pytest.mark.alone

COUNT = 100
MEMORY_KIB = 256
"""What one hostile connection may cost at most."""
FREED_S = 15.0
BACKLOG = 40
"""Messages of 16 KB that nobody reads: 640 KB, under ``limits.backlog_bytes``."""


# Made once: the clients share a loop with the bystander, who should wait for the replica alone.
PINGS = masked(b"x" * 125, 0x89) * 2000
PONGS = masked(b"", 0x8A) * 20_000
EMPTY_FRAGMENTS = masked(b"", 0x01) + masked(b"", 0x00) * 20_000
TINY_MESSAGES = masked(b"") * 20_000
UNFINISHED = masked(b"x" * 32_000, 0x01) + masked(b"x" * 33_000, 0x00)[:-1]
ASKING = masked(b'{"type": "ping", "payload": {}}') * 200
EARLY = masked(b"x" * 60_000) * 4


class Peer(Struct, frozen=True):
    """One hostile client, and what it may use."""

    opened: Wire
    token: str

    async def upgrade(self) -> None:
        await self.opened.write(handshake(self.token))
        assert (await self.opened.answer()).status == 101
        await self.opened.frame()


async def stops_reading(peer: Peer) -> None:
    await peer.upgrade()


async def stops_reading_what_it_asks_for(peer: Peer) -> None:
    await peer.upgrade()
    await peer.opened.write(ASKING)


async def floods_pings(peer: Peer) -> None:
    await peer.upgrade()
    await peer.opened.write(PINGS)


async def floods_pongs(peer: Peer) -> None:
    await peer.upgrade()
    await peer.opened.write(PONGS)


async def floods_empty_fragments(peer: Peer) -> None:
    await peer.upgrade()
    await peer.opened.write(EMPTY_FRAGMENTS)


async def floods_tiny_messages(peer: Peer) -> None:
    await peer.upgrade()
    await peer.opened.write(TINY_MESSAGES)


async def leaves_a_message_unfinished(peer: Peer) -> None:
    await peer.upgrade()
    await peer.opened.write(UNFINISHED)


async def leaves_a_handshake_unfinished(peer: Peer) -> None:
    await peer.opened.write(handshake(peer.token)[:-2] + b"X-Long: " + b"x" * 100_000)


async def sends_before_the_handshake(peer: Peer) -> None:
    await peer.opened.write(handshake(peer.token) + EARLY)


async def asks_without_end(peer: Peer) -> None:
    await peer.opened.write(request("GET", "/health/live") * 9000)


async def leaves_a_body_unfinished(peer: Peer) -> None:
    head = request("POST", "/api/v1/auth/login", b"", "Content-Type: application/json", "Content-Length: 100000")
    await peer.opened.write(head + b" " * 99_000)


KINDS: list[Callable[[Peer], Awaitable[None]]] = [
    stops_reading,
    stops_reading_what_it_asks_for,
    floods_pings,
    floods_pongs,
    floods_empty_fragments,
    floods_tiny_messages,
    leaves_a_message_unfinished,
    leaves_a_handshake_unfinished,
    sends_before_the_handshake,
    asks_without_end,
    leaves_a_body_unfinished,
]


@pytest.fixture(scope="module")
def replica(site: Replicas) -> ReplicaProcess:
    return site.start(
        1,
        CHATAPP_DELIVERY__HEARTBEAT_S="2",
        CHATAPP_LIMITS__HEADERS_TIMEOUT_S="5",
        CHATAPP_LIMITS__BODY_TIMEOUT_S="5",
        CHATAPP_LIMITS__CONNECTIONS_PER_USER="1000",
    )[0]


@pytest.fixture
async def ann(replica: ReplicaProcess) -> AsyncIterator[Account]:
    async with rests(replica) as (one,):
        yield await one.register("ann")


@contextlib.asynccontextmanager
async def attack(
    replica: ReplicaProcess, token: str, kinds: list[Callable[[Peer], Awaitable[None]]], count: int
) -> AsyncIterator[list[Wire]]:
    """``count`` of each kind, all at once."""
    streams = [await asyncio.open_connection("127.0.0.1", replica.port, limit=4096) for _ in range(count * len(kinds))]
    wires = [Wire(*stream) for stream in streams]

    async def do(kind: Callable[[Peer], Awaitable[None]], opened: Wire) -> None:
        # A flood that is not taken is as good as one that is.
        with contextlib.suppress(TimeoutError, asyncio.IncompleteReadError, ConnectionError):
            await asyncio.wait_for(kind(Peer(opened, token)), 5)

    try:
        await asyncio.gather(*(do(kinds[index % len(kinds)], opened) for index, opened in enumerate(wires)))
        yield wires
    finally:
        for opened in wires:
            opened.vanish()


def resident_kib(replica: ReplicaProcess) -> int:
    status = Path(f"/proc/{replica.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


async def open_sockets(replica: ReplicaProcess) -> int:
    async with httpx.AsyncClient(trust_env=False) as client:
        count: int = (await client.get(f"{replica.url}/ws/health")).json()["websocket"]["connections"]
        return count


async def until_gone(replica: ReplicaProcess, left: int = 0) -> None:
    async with asyncio.timeout(FREED_S):
        while await open_sockets(replica) > left:
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def bystander(replica: ReplicaProcess, token: str) -> AsyncIterator[list[float]]:
    """Somebody who behaves: how long each ``ping`` took to be answered, in seconds."""
    delays: list[float] = []
    loop = asyncio.get_running_loop()
    async with upgraded(replica, token) as opened:

        async def ask() -> None:
            while True:
                started = loop.time()
                await opened.write(masked(b'{"type": "ping", "payload": {}}'))
                while b'"pong"' not in (await opened.frame())[1]:
                    pass
                delays.append(loop.time() - started)
                await asyncio.sleep(0.02)

        asking = loop.create_task(ask())
        try:
            yield delays
            assert not asking.done(), asking.exception()
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
async def test_a_hostile_connection_costs_little_memory_and_the_others_nothing(
    replica: ReplicaProcess, ann: Account, kind: Callable[[Peer], Awaitable[None]]
) -> None:
    async with rests(replica) as (rest,):
        chat = await rest.group(ann)
        async with bystander(replica, (await rest.register("bob")).token) as delays:
            before = resident_kib(replica)
            async with attack(replica, ann.token, [kind], COUNT):
                if kind is stops_reading:
                    for _ in range(BACKLOG):
                        await rest.send(ann, chat, "x" * 16_000)
                answered = len(delays)
                async with asyncio.timeout(8):
                    while len(delays) < answered + 5:  # what was sent before has been read by then
                        await asyncio.sleep(0.02)
                each = (resident_kib(replica) - before) / COUNT
    print(
        f"{kind.__name__}: {each:.0f} KiB each, a bystander waited {statistics.median(delays) * 1000:.0f} ms, "
        f"at most {max(delays) * 1000:.0f} ms"
    )
    assert each < MEMORY_KIB
    assert statistics.median(delays) < 0.25
    await until_gone(replica)
    assert "Traceback" not in replica.output


async def test_every_hostile_connection_is_ended_in_bounded_time(replica: ReplicaProcess, ann: Account) -> None:
    kinds = [kind for kind in KINDS if kind is not stops_reading_what_it_asks_for]
    async with attack(replica, ann.token, kinds, 3) as wires:
        closed = await asyncio.gather(*(opened.is_closed(FREED_S) for opened in wires))
        assert [kinds[index % len(kinds)].__name__ for index, done in enumerate(closed) if not done] == []
        await until_gone(replica)
