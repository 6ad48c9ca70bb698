"""What the bus behind Sentinels survives. Each test has a group of its own and may do to it what it likes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from chatapp.bus.limits import RedisBusLimits
from chatapp.bus.opening import open_bus
from chatapp.bus.port import Bus
from chatapp.bus.redis import RedisBus
from chatapp.bus.resp import Endpoint, Refused
from chatapp.bus.sentinel import Sentinels
from tests.bus.private_cluster import PrivateSentinels
from tests.bus.private_valkey import PrivateValkey
from tests.bus.recorder import Recorder, eventually

pytestmark = [pytest.mark.alone, pytest.mark.timeout(120)]

PATIENCE_S = 40.0
"""A failover takes three seconds, and much longer on a machine that has other work."""
TOPIC = b"chatapp:chat:1"
QUICK = RedisBusLimits(
    publish_timeout_s=0.5,
    connect_timeout_s=0.5,
    subscribe_timeout_s=1.0,
    ping_timeout_s=0.5,
    heartbeat_interval_s=0.2,
    heartbeats_missed=5,
    close_timeout_s=0.2,
)

Join = Callable[[], Awaitable[tuple[RedisBus, Recorder]]]


@pytest.fixture
def group(tmp_path: Path) -> Iterator[PrivateSentinels]:
    """The servers want a password and the Sentinels none."""
    group = PrivateSentinels(tmp_path, down_after_ms=1_000, password="open-sesame")
    try:
        group.start()
        yield group
    finally:
        group.kill()


@pytest.fixture
async def join(group: PrivateSentinels) -> AsyncIterator[Join]:
    """A replica that hears ``TOPIC``; all end with the test."""
    buses: list[Bus] = []

    async def join() -> tuple[RedisBus, Recorder]:
        bus = open_bus("sentinel", group.url, nodes=group.addresses, sentinel_master=group.name, limits=QUICK)
        assert isinstance(bus, RedisBus)
        recorder = Recorder()
        buses.append(bus)
        await bus.start(recorder)
        await eventually(lambda: bus.status.connected, PATIENCE_S)
        assert await bus.subscribe([TOPIC])
        return bus, recorder

    yield join
    for bus in buses:
        await bus.close()


async def is_whole_again(bus: RedisBus, recorder: Recorder, server: PrivateValkey) -> None:
    """It has told of the gap, and what it publishes goes through this server."""
    await eventually(lambda: recorder.gaps > 0, PATIENCE_S)
    await eventually(lambda: server.hears(TOPIC), PATIENCE_S)
    await eventually(lambda: bus.status.connected, PATIENCE_S)
    payload = b"whole after %d" % recorder.gaps
    bus.publish(TOPIC, payload)
    await recorder.heard(TOPIC, payload)


async def test_a_killed_master_is_left_for_the_one_that_the_sentinels_choose(
    group: PrivateSentinels, join: Join
) -> None:
    (one, hears_one), (two, hears_two) = await join(), await join()
    group.master.kill()
    await eventually(lambda: not one.status.connected)
    for number in range(100):
        one.publish(TOPIC, b"%d" % number)
    await eventually(lambda: group.current_master() is not group.master, PATIENCE_S)
    await is_whole_again(one, hears_one, group.current_master())
    await is_whole_again(two, hears_two, group.current_master())
    assert await one.flush(PATIENCE_S)
    assert one.stats.dropped == 0


async def test_a_master_that_freezes_is_left_and_not_taken_back(group: PrivateSentinels, join: Join) -> None:
    bus, recorder = await join()
    group.master.freeze()
    bus.publish(TOPIC, b"while frozen")
    await eventually(lambda: group.current_master() is not group.master, PATIENCE_S)
    promoted = group.current_master()
    await is_whole_again(bus, recorder, promoted)
    group.master.thaw()
    await eventually(lambda: group.master.role() == b"slave", PATIENCE_S)
    await is_whole_again(bus, recorder, promoted)
    assert bus.stats.dropped == 0


async def test_a_master_that_is_demoted_on_request_is_left(group: PrivateSentinels, join: Join) -> None:
    bus, recorder = await join()
    group.sentinels[0].command("SENTINEL", "FAILOVER", group.name)
    await eventually(lambda: group.current_master() is not group.master, PATIENCE_S)
    await is_whole_again(bus, recorder, group.current_master())


async def test_a_former_master_that_still_answers_is_left(group: PrivateSentinels, join: Join) -> None:
    bus, recorder = await join()
    other = group.replicas[0]
    for sentinel in group.sentinels:
        sentinel.command("SENTINEL", "REMOVE", group.name)  # so that nobody tells the former master
    other.command("REPLICAOF", "NO", "ONE")
    for sentinel in group.sentinels:
        sentinel.command("SENTINEL", "MONITOR", group.name, "127.0.0.1", other.port, 2)
        sentinel.command("SENTINEL", "SET", group.name, "auth-pass", "open-sesame")
    await is_whole_again(bus, recorder, other)
    assert group.master.role() == b"master"
    assert not group.master.hears(TOPIC)


async def test_without_sentinels_the_present_master_stays(group: PrivateSentinels, join: Join) -> None:
    bus, recorder = await join()
    for sentinel in group.sentinels:
        sentinel.kill()
    for number in range(5):  # as many heartbeats, and as often the Sentinels were asked
        beats = bus.stats.published
        bus.publish(TOPIC, b"%d" % number)
        await recorder.heard(TOPIC, b"%d" % number)
        await eventually(lambda beats=beats: bus.stats.published > beats + 1)  # type: ignore[misc]
    assert (recorder.gaps, bus.stats.interruptions) == (0, 0)
    assert bus.status.connected


async def test_a_name_that_no_sentinel_knows_is_no_connection(
    group: PrivateSentinels, caplog: pytest.LogCaptureFixture
) -> None:
    bus = open_bus("sentinel", group.url, nodes=group.addresses, sentinel_master="unheard-of", limits=QUICK)
    await bus.start(Recorder())
    assert await bus.subscribe([TOPIC]) is False
    assert not bus.status.connected
    await bus.close()
    assert "unheard-of" in caplog.text
    assert "sesame" not in caplog.text


async def test_a_replica_is_not_taken_for_a_master_whatever_a_sentinel_says(group: PrivateSentinels) -> None:
    port = str(group.replicas[0].port)
    answer = f"*2\r\n$9\r\n127.0.0.1\r\n${len(port)}\r\n{port}\r\n*2\r\n$12\r\nconfig-epoch\r\n$1\r\n9\r\n"

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(b"+OK\r\n+OK\r\n+PONG\r\n")
        await reader.read(1000)
        writer.write(answer.encode())
        await reader.read()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    liar = Endpoint("127.0.0.1", server.sockets[0].getsockname()[1], password="open-sesame")
    sentinels = Sentinels([liar], group.name, liar, timeout_s=5, interval_s=1)
    watching = asyncio.create_task(sentinels.watch())
    with pytest.raises(Refused, match="not the master"):
        await sentinels.dial(b"test")
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    server.close()
