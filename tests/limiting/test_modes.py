"""The shared counts over each kind of Redis that the bus knows."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from limits.aio.storage import RedisStorage

from chatapp.limiting.counts import CountsAway
from chatapp.limiting.opening import open_storage
from chatapp.limiting.shared import SharedCounts
from tests.bus.private_cluster import PrivateCluster, PrivateSentinels
from tests.bus.private_valkey import PrivateValkey


@asynccontextmanager
async def counting(storage: RedisStorage) -> AsyncIterator[SharedCounts]:
    counts = SharedCounts(storage, asyncio.get_running_loop().time, timeout_s=5.0)
    try:
        yield counts
    finally:
        await counts.close()


async def check(counts: SharedCounts) -> None:
    for key in (secrets.token_hex(4) for _ in range(8)):
        assert await counts.left_s(key) == 0
        assert await counts.add(key, 60) == 1
        assert await counts.add(key, 60, 5) == 6
        assert await counts.add(key, 60, -1) == 5
        assert 50 < await counts.left_s(key) <= 60
        await counts.clear(key)
        assert await counts.left_s(key) == 0


async def test_one_server(redis_url: str) -> None:
    async with counting(open_storage("single", redis_url)) as counts:
        await check(counts)


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[PrivateValkey]:
    """Wants a password with characters that a URL quotes, and listens on a Unix socket too."""
    valkey = PrivateValkey(tmp_path, password="open/sesame@1", settings=f"unixsocket {tmp_path}/valkey.sock\n")
    valkey.start()
    yield valkey
    valkey.kill()


async def test_a_server_with_a_password(guarded: PrivateValkey) -> None:
    url = f"redis://:open%2Fsesame%401@127.0.0.1:{guarded.port}"
    async with counting(open_storage("single", url)) as counts:
        await check(counts)


async def test_a_unix_socket(guarded: PrivateValkey, tmp_path: Path) -> None:
    async with counting(open_storage("single", f"unix://:open%2Fsesame%401@{tmp_path}/valkey.sock")) as counts:
        await check(counts)


@pytest.mark.alone
async def test_a_cluster(cluster: PrivateCluster) -> None:
    first, *others = cluster.masters
    nodes = [("127.0.0.1", node.port) for node in others]
    async with counting(open_storage("cluster", first.url, nodes=nodes)) as counts:
        await check(counts)


@pytest.mark.alone
async def test_the_master_of_sentinels(sentinels: PrivateSentinels) -> None:
    storage = open_storage("sentinel", sentinels.url, nodes=sentinels.addresses, sentinel_master=sentinels.name)
    async with counting(storage) as counts:
        await check(counts)


@pytest.mark.alone
async def test_the_servers_behind_sentinels_may_want_a_password_and_the_sentinels_none(tmp_path: Path) -> None:
    group = PrivateSentinels(tmp_path, password="open-sesame")
    try:
        group.start()
        storage = open_storage("sentinel", group.url, nodes=group.addresses, sentinel_master=group.name)
        async with counting(storage) as counts:
            await check(counts)
    finally:
        group.kill()


@pytest.mark.parametrize("mode", ["single", "sentinel"])
async def test_tls_is_used(mode: str) -> None:
    asked: list[bytes] = []

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(3))
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    storage = open_storage(mode, f"rediss://:pw@127.0.0.1:{port}", nodes=[("127.0.0.1", port)])  # type: ignore[arg-type]
    async with counting(storage) as counts:
        with pytest.raises(CountsAway):
            await counts.add("x", 60)
    server.close()
    assert asked
    assert all(first[:2] == b"\x16\x03" for first in asked)  # a TLS handshake
