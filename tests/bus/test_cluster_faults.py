"""What the bus over a cluster survives. Each test has a cluster of its own and may do to it what it likes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from chatapp.bus.cluster import ClusterBus
from chatapp.bus.limits import RedisBusLimits
from chatapp.bus.opening import open_bus
from chatapp.bus.slots import slot_of
from chatapp.errors import Unavailable
from tests.bus.private_cluster import MASTERS, PrivateCluster
from tests.bus.recorder import Recorder, eventually

pytestmark = [pytest.mark.alone, pytest.mark.timeout(120)]

PATIENCE_S = 40.0
"""A failover takes two to three seconds, and much longer on a machine that has other work."""
TOPICS = [b"chatapp:chat:%d" % number for number in range(60)]
QUICK = RedisBusLimits(
    publish_timeout_s=0.5,
    connect_timeout_s=0.5,
    subscribe_timeout_s=1.0,
    ping_timeout_s=0.5,
    heartbeat_interval_s=0.2,
    heartbeats_missed=5,
    close_timeout_s=0.2,
)

Join = Callable[[], Awaitable[tuple[ClusterBus, Recorder]]]


def master_of(topic: bytes) -> int:
    """Which of the cluster's first masters it begins at."""
    return next(m for m in range(MASTERS) if slot_of(topic) < (m + 1) * 16384 // MASTERS)


@pytest.fixture
def replicas() -> bool:
    return True


@pytest.fixture
def own_cluster(tmp_path: Path, replicas: bool) -> Iterator[PrivateCluster]:
    cluster = PrivateCluster(tmp_path, replicas=replicas, node_timeout_ms=1_000 if replicas else 60_000)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.kill()


without_replicas = pytest.mark.parametrize("replicas", [False], ids=["without replicas"])


@pytest.fixture
async def join(own_cluster: PrivateCluster) -> AsyncIterator[Join]:
    """A replica that hears ``TOPICS``; all end with the test."""
    buses: list[ClusterBus] = []

    async def join() -> tuple[ClusterBus, Recorder]:
        bus, recorder = open_bus("cluster", own_cluster.masters[0].url, limits=QUICK), Recorder()
        assert isinstance(bus, ClusterBus)
        buses.append(bus)
        await bus.start(recorder)
        await eventually(lambda: bus.status.connected, PATIENCE_S)
        assert await bus.subscribe(TOPICS)
        return bus, recorder

    yield join
    for bus in buses:
        await bus.close()


class Traffic:
    """Numbers 0, 1, 2 … on each topic, all the time."""

    def __init__(self, bus: ClusterBus) -> None:
        self._bus = bus
        self.sent = 0
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            for topic in TOPICS:
                self._bus.publish(topic, b"%d" % self.sent)
            self.sent += 1
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        assert await self._bus.flush(PATIENCE_S)


def numbers(recorder: Recorder, topic: bytes) -> list[int]:
    return [int(payload) for payload in dict.fromkeys(recorder.payloads(topic)) if payload.isdigit()]


async def is_whole_again(bus: ClusterBus, recorder: Recorder, mark: bytes = b"whole") -> None:
    """It is connected, and every topic is heard from now on: what is still missed is owned up to with a gap."""
    await eventually(lambda: bus.status.connected, PATIENCE_S)
    for attempt in range(20):
        this_mark, gaps = b"%s %d" % (mark, attempt), recorder.gaps
        for topic in TOPICS:
            bus.publish(topic, this_mark)

        def is_heard(this_mark: bytes = this_mark) -> bool:
            return {d.topic for d in recorder.deliveries if d.payload == this_mark} >= set(TOPICS)

        await eventually(lambda is_heard=is_heard, gaps=gaps: is_heard() or recorder.gaps > gaps, PATIENCE_S)  # type: ignore[misc]
        if is_heard():
            return
    raise AssertionError("it hears of gaps without end")


async def test_the_topics_of_a_killed_master_move_to_its_replica_with_a_gap(
    own_cluster: PrivateCluster, join: Join
) -> None:
    (one, _), (two, recorder) = await join(), await join()
    traffic = Traffic(one)
    await eventually(lambda: traffic.sent > 20)
    own_cluster.masters[0].kill()
    await eventually(lambda: not two.status.connected)
    await eventually(lambda: two.status.connected and one.status.connected, PATIENCE_S)
    await eventually(lambda: recorder.gaps > 0)
    await traffic.stop()
    await is_whole_again(one, recorder)
    for topic in TOPICS:
        heard = numbers(recorder, topic)
        assert heard == sorted(heard), "out of order"
        if master_of(topic) != 0:
            assert heard == list(range(traffic.sent)), "the other masters were never away"
    await eventually(lambda: one.status.unconfirmed == 0)  # what was heard may still be confirmed
    assert one.stats.dropped == 0


async def test_what_waited_for_a_killed_master_is_published_by_its_replica(
    own_cluster: PrivateCluster, join: Join
) -> None:
    bus, recorder = await join()
    own_cluster.masters[1].kill()
    topics = [topic for topic in TOPICS if master_of(topic) == 1]
    await eventually(lambda: not bus.status.connected)
    for number in range(50):
        for topic in topics:
            bus.publish(topic, b"%d" % number)
    await eventually(lambda: recorder.gaps > 0, PATIENCE_S)
    assert await bus.flush(PATIENCE_S)
    await is_whole_again(bus, recorder)
    assert bus.stats.dropped == 0
    for topic in topics:
        assert numbers(recorder, topic) == sorted(numbers(recorder, topic))


@without_replicas
async def test_slots_that_migrate_while_everybody_publishes_keep_the_order_of_each_topic(
    own_cluster: PrivateCluster, join: Join
) -> None:
    (one, _), (two, recorder) = await join(), await join()
    traffic = Traffic(one)
    source, target = own_cluster.masters[0], own_cluster.masters[1]
    slots = sorted({slot_of(topic) for topic in TOPICS if master_of(topic) == 0})
    for slot in slots:
        sent = traffic.sent
        await asyncio.to_thread(own_cluster.move_slot, slot, source, target)
        await eventually(lambda sent=sent: traffic.sent > sent + 2)  # type: ignore[misc]
    await traffic.stop()
    await eventually(lambda: recorder.gaps > 0)
    await is_whole_again(one, recorder)
    assert one.stats.dropped == 0
    for topic in TOPICS:
        heard = numbers(recorder, topic)
        assert heard == sorted(heard), "out of order"
        if master_of(topic) != 0:
            assert heard == list(range(traffic.sent)), "only what moved may be missing"
    assert two.stats.interruptions < len(slots), "a slot that moves must not cost the connection each time"


@without_replicas
async def test_a_subscribe_goes_to_where_the_slot_is_by_now(own_cluster: PrivateCluster, join: Join) -> None:
    bus, recorder = await join()
    topic = b"chatapp:chat:moved"
    source = own_cluster.masters[master_of(topic)]
    target = own_cluster.masters[(master_of(topic) + 1) % MASTERS]
    await asyncio.to_thread(own_cluster.move_slot, slot_of(topic), source, target)
    await bus.subscribe([topic])  # whether in time or not
    bus.publish(topic, b"heard")
    await eventually(lambda: b"heard" in recorder.payloads(topic) or recorder.gaps > 0, PATIENCE_S)
    bus.publish(topic, b"heard again")
    await recorder.heard(topic, b"heard again")


@without_replicas
async def test_slots_of_nobody_wait_and_do_not_hold_up_the_others(own_cluster: PrivateCluster, join: Join) -> None:
    bus, recorder = await join()
    orphan, other = b"chatapp:chat:orphan", next(topic for topic in TOPICS if master_of(topic) == 0)
    master = own_cluster.masters[master_of(orphan)]
    for node in own_cluster.nodes:
        node.command("CONFIG", "SET", "cluster-require-full-coverage", "no")
    for node in own_cluster.nodes:
        node.command("CLUSTER", "DELSLOTS", slot_of(orphan))
    assert await bus.subscribe([orphan]) is False
    bus.publish(orphan, b"patience")
    for number in range(100):
        bus.publish(other, b"%d" % number)
    await eventually(lambda: b"99" in recorder.payloads(other), PATIENCE_S)
    assert bus.status.connected is False
    assert recorder.payloads(orphan) == []
    master.command("CLUSTER", "ADDSLOTS", slot_of(orphan))
    await eventually(lambda: recorder.gaps > 0, PATIENCE_S)
    bus.publish(orphan, b"heard")
    await recorder.heard(orphan, b"heard")
    assert await bus.flush(PATIENCE_S)
    await is_whole_again(bus, recorder)


async def test_a_master_that_freezes_is_replaced(own_cluster: PrivateCluster, join: Join) -> None:
    bus, recorder = await join()
    own_cluster.masters[2].freeze()
    for topic in TOPICS:
        bus.publish(topic, b"while frozen")
    await eventually(lambda: not bus.status.connected)
    with pytest.raises(Unavailable):
        await bus.ping()
    await eventually(lambda: recorder.gaps > 0, PATIENCE_S)
    await is_whole_again(bus, recorder, b"before it is back")
    own_cluster.masters[2].thaw()
    await eventually(lambda: own_cluster.masters[2].role() == b"slave", PATIENCE_S)
    await is_whole_again(bus, recorder, b"after it is back")
    assert bus.stats.dropped == 0


@without_replicas
async def test_a_whole_cluster_that_restarts_is_a_gap_and_then_everything_is_heard(
    own_cluster: PrivateCluster, join: Join
) -> None:
    bus, recorder = await join()
    own_cluster.kill()
    await eventually(lambda: not bus.status.connected)
    for topic in TOPICS:
        bus.publish(topic, b"while away")
    with pytest.raises(Unavailable):
        await bus.ping()
    assert await bus.subscribe([b"chatapp:chat:new"]) is False
    await asyncio.to_thread(own_cluster.restart)
    await eventually(lambda: recorder.gaps > 0, PATIENCE_S)
    await is_whole_again(bus, recorder)
    bus.publish(b"chatapp:chat:new", b"heard")
    await recorder.heard(b"chatapp:chat:new", b"heard")
    assert await bus.flush(PATIENCE_S)
    assert bus.stats.dropped == 0


@without_replicas
async def test_subscriptions_that_come_and_go_while_slots_move_end_as_the_last_calls_say(
    own_cluster: PrivateCluster, join: Join
) -> None:
    bus, recorder = await join()
    dice = random.Random(11)
    topics = [b"chatapp:chat:%d" % number for number in range(1_000, 1_040)]
    wanted: set[bytes] = set()
    calls: list[asyncio.Future[object]] = []
    where = {topic: master_of(topic) for topic in topics}
    for number in range(300):
        topic = dice.choice(topics)
        if topic in wanted:
            wanted.discard(topic)
            calls.append(asyncio.ensure_future(bus.unsubscribe([topic])))
        else:
            wanted.add(topic)
            calls.append(asyncio.ensure_future(bus.subscribe([topic])))
        if number % 15 == 0:
            moving = dice.choice(topics)
            source, target = where[moving], (where[moving] + 1) % MASTERS
            where[moving] = target
            await asyncio.to_thread(
                own_cluster.move_slot, slot_of(moving), own_cluster.masters[source], own_cluster.masters[target]
            )
        await asyncio.sleep(0.002)
    await asyncio.wait_for(asyncio.gather(*calls), 20)
    await is_whole_again(bus, recorder)
    await eventually(lambda: heard_by_servers(own_cluster, b"chatapp:chat:10??") == wanted, PATIENCE_S)
    for topic in topics:
        bus.publish(topic, b"who hears?")
    await eventually(lambda: {d.topic for d in recorder.deliveries if d.payload == b"who hears?"} == wanted, PATIENCE_S)


def heard_by_servers(cluster: PrivateCluster, pattern: bytes) -> set[bytes]:
    heard: set[bytes] = set()
    for node in cluster.nodes:
        channels = node.command("PUBSUB", "SHARDCHANNELS", pattern.decode())
        assert isinstance(channels, list)
        heard.update(channels)
    return heard


async def test_it_starts_at_once_while_the_cluster_is_away(tmp_path: Path) -> None:
    cluster = PrivateCluster(tmp_path)
    bus, recorder = open_bus("cluster", cluster.masters[0].url, limits=QUICK), Recorder()
    await bus.start(recorder)
    bus.publish(TOPICS[0], b"early")
    assert await bus.subscribe(TOPICS) is False
    assert (bus.status.connected, bus.status.topics, bus.status.unconfirmed) == (False, len(TOPICS), 1)
    assert await bus.flush(0.05) is False
    with pytest.raises(Unavailable):
        await bus.ping()
    try:
        await asyncio.to_thread(cluster.start)
        await eventually(lambda: recorder.gaps > 0, PATIENCE_S)
        await eventually(lambda: bus.status.connected, PATIENCE_S)
        assert await bus.flush(PATIENCE_S)
        bus.publish(TOPICS[0], b"late")
        await recorder.heard(TOPICS[0], b"late")
        await bus.close()
    finally:
        cluster.kill()
