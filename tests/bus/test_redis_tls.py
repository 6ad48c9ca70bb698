"""``rediss://``: through a TLS terminator, for the Valkey of the packages is built without TLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from chatapp.bus.limits import RedisBusLimits
from chatapp.bus.opening import open_bus
from chatapp.bus.redis import RedisBus
from chatapp.limiting.counts import CountsAway
from chatapp.limiting.opening import open_storage
from chatapp.limiting.shared import SharedCounts
from tests.bus.private_valkey import PrivateValkey
from tests.bus.recorder import Recorder, waited_for
from tests.certificates import Authority, terminator
from tests.ports import free_port

LIMITS = RedisBusLimits(subscribe_timeout_s=2.0, close_timeout_s=0.2)


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[PrivateValkey]:
    valkey = PrivateValkey(tmp_path, password="open-sesame")
    valkey.start()
    yield valkey
    valkey.kill()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def terminator_port(valkey: PrivateValkey, authority: Authority) -> AsyncIterator[int]:
    async with terminator(authority.issue("127.0.0.1").server_context(), valkey.port) as server:
        yield server.port


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while not condition():
            await asyncio.sleep(0.02)


async def test_a_trusted_server_is_spoken_to_over_tls(terminator_port: int, authority: Authority) -> None:
    bus, recorder = (
        RedisBus.from_url(f"rediss://:open-sesame@127.0.0.1:{terminator_port}/0?ssl_ca_certs={authority.file}", LIMITS),
        Recorder(),
    )
    await bus.start(recorder)
    assert await bus.subscribe([b"chat:1"])
    bus.publish(b"chat:1", b"x" * 200_000)
    await recorder.heard(b"chat:1", b"x" * 200_000)
    await bus.close()


async def test_a_server_that_is_not_trusted_is_not_given_the_password(
    terminator_port: int, valkey: PrivateValkey, caplog: pytest.LogCaptureFixture
) -> None:
    bus = RedisBus.from_url(f"rediss://:open-sesame@127.0.0.1:{terminator_port}/0", LIMITS)
    await bus.start(Recorder())
    assert await bus.subscribe([b"chat:1"]) is False
    await bus.close()
    assert "certificate verify failed" in caplog.text.lower()
    assert "sesame" not in caplog.text
    with valkey.admin() as admin:
        assert admin.pubsub_channels() == []


async def found_again(counts: SharedCounts) -> int:
    """The first answer; the client may need more than one attempt to find its nodes."""
    async with asyncio.timeout(20):
        while True:
            await until(lambda: counts.available)
            with suppress(CountsAway):
                return await counts.add("x", 60)


async def test_a_cluster_is_spoken_to_over_tls_by_bus_and_counts_and_found_again(
    tmp_path: Path, authority: Authority
) -> None:
    port = free_port()
    announced = f"cluster-announce-ip 127.0.0.1\ncluster-announce-port {port}\n"
    node = PrivateValkey(tmp_path, settings=f"cluster-enabled yes\ncluster-port {free_port()}\n{announced}")
    node.start()
    node.command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    url = f"rediss://127.0.0.1:{port}?ssl_ca_certs={authority.file}"
    bus, recorder = open_bus("cluster", url, limits=LIMITS), Recorder()
    counts = SharedCounts(open_storage("cluster", url), asyncio.get_running_loop().time, timeout_s=5.0)
    try:
        waited_for(lambda: b"cluster_state:ok" in bytes(node.command("CLUSTER", "INFO")), 10)  # type: ignore[call-overload]
        async with terminator(authority.issue("127.0.0.1").server_context(), node.port, port=port) as server:
            await bus.start(recorder)
            await until(lambda: bus.status.connected)
            assert await bus.subscribe([b"chat:{1}"])
            bus.publish(b"chat:{1}", b"over TLS")
            await recorder.heard(b"chat:{1}", b"over TLS")
            assert await counts.add("x", 60) == 1
            server.is_broken = True
            server.drop()
            for _ in range(2):
                with pytest.raises(CountsAway):
                    await counts.add("x", 60)
            server.is_broken = False
            assert await found_again(counts) >= 2  # a question without an answer may have been counted
            await until(lambda: bus.status.connected)
    finally:
        await counts.close()
        await bus.close()
        node.kill()
