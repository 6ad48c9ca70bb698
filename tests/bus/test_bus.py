"""What every bus does: this one suite runs against all implementations."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import uuid4

import pytest

from chatapp.bus.cluster import ClusterBus
from chatapp.bus.echo import EchoBus
from chatapp.bus.memory import MemoryBus, MemoryHub
from chatapp.bus.opening import open_bus
from chatapp.bus.port import Bus
from tests.bus.private_cluster import PrivateCluster, PrivateSentinels
from tests.bus.recorder import Recorder, eventually

Join = Callable[[], Awaitable[tuple[Bus, Recorder]]]


@pytest.fixture(params=["memory", "single", "sentinel", "cluster", "echo"])
def make(request: pytest.FixtureRequest) -> Callable[[], Bus]:
    match request.param:
        case "memory":
            hub = MemoryHub()
            return lambda: MemoryBus(hub)
        case "echo":
            around = MemoryHub()
            return lambda: EchoBus(MemoryBus(around))
        case "single":
            url: str = request.getfixturevalue("redis_url")
            return lambda: open_bus("single", url)
        case "sentinel":
            group: PrivateSentinels = request.getfixturevalue("sentinels")
            return lambda: open_bus("sentinel", group.url, nodes=group.addresses, sentinel_master=group.name)
        case _:
            cluster: PrivateCluster = request.getfixturevalue("cluster")
            return lambda: open_bus("cluster", cluster.masters[0].url)


@pytest.fixture
async def join(make: Callable[[], Bus]) -> AsyncIterator[Join]:
    """Another replica that takes part; all end with the test."""
    buses: list[Bus] = []

    async def join() -> tuple[Bus, Recorder]:
        bus, recorder = make(), Recorder()
        buses.append(bus)
        await bus.start(recorder)
        await eventually(lambda: bus.status.connected)
        return bus, recorder

    yield join
    for bus in buses:
        await bus.close()


@pytest.fixture
def topic() -> bytes:
    return b"test:%s" % uuid4().hex.encode()


async def test_every_subscribed_replica_hears_a_payload_the_publishing_one_too(join: Join, topic: bytes) -> None:
    (one, hears_one), (two, hears_two) = await join(), await join()
    assert await one.subscribe([topic])
    assert await two.subscribe([topic])
    one.publish(topic, b"hello")
    await hears_one.heard(topic, b"hello")
    await hears_two.heard(topic, b"hello")


async def test_only_what_was_subscribed_is_heard(join: Join, topic: bytes) -> None:
    bus, recorder = await join()
    await bus.subscribe([topic])
    bus.publish(topic + b":other", b"not for us")
    bus.publish(topic, b"for us")
    await recorder.heard(topic, b"for us")
    assert len(recorder.deliveries) == 1


async def test_any_bytes_arrive_unchanged(join: Join, topic: bytes) -> None:
    bus, recorder = await join()
    payloads = [b"", b"\r\n$3\r\n", bytes(range(256)), b"x" * 300_000]
    await bus.subscribe([topic])
    for payload in payloads:
        bus.publish(topic, payload)
    await eventually(lambda: len(recorder.deliveries) == len(payloads))
    assert recorder.payloads(topic) == payloads


async def test_the_payloads_of_each_topic_arrive_in_the_order_of_publishing(join: Join, topic: bytes) -> None:
    (one, _), (two, recorder) = await join(), await join()
    topics = [topic + b":%d" % number for number in range(7)]
    assert await two.subscribe(topics)
    for number in range(5_000):
        one.publish(topics[number % 7], b"%d" % number)
        if number % 100 == 0:
            await asyncio.sleep(0)
    await eventually(lambda: len(recorder.deliveries) >= 5_000)
    for number, each in enumerate(topics):
        assert [int(payload) for payload in recorder.payloads(each)] == list(range(number, 5_000, 7))
    if not isinstance(two, ClusterBus):
        assert [int(delivery.payload) for delivery in recorder.deliveries] == list(range(5_000))


async def test_what_comes_together_is_handed_over_together(join: Join, topic: bytes) -> None:
    bus, recorder = await join()
    await bus.subscribe([topic])
    for number in range(500):
        bus.publish(topic, b"%d" % number)
    await eventually(lambda: len(recorder.deliveries) == 500)
    assert len(recorder.calls) < 100


async def test_what_was_published_before_is_not_heard_later(join: Join, topic: bytes) -> None:
    bus, recorder = await join()
    bus.publish(topic, b"early")
    assert await bus.flush(5)
    await bus.subscribe([topic])
    bus.publish(topic, b"late")
    await recorder.heard(topic, b"late")
    assert recorder.payloads(topic) == [b"late"]


async def test_an_unsubscribed_topic_is_heard_no_more_from_the_call_on(join: Join, topic: bytes) -> None:
    (one, hears_one), (two, hears_two) = await join(), await join()
    await one.subscribe([topic])
    await two.subscribe([topic])
    two.publish(topic, b"still on its way")
    await one.unsubscribe([topic])
    two.publish(topic, b"after")
    await hears_two.heard(topic, b"after")
    await one.subscribe([topic + b":end"])
    two.publish(topic + b":end", b"end")
    await hears_one.heard(topic + b":end", b"end")
    assert hears_one.payloads(topic) == []


async def test_subscribing_again_and_unsubscribing_the_unknown_are_no_errors(join: Join, topic: bytes) -> None:
    bus, recorder = await join()
    assert await bus.subscribe([topic, topic])
    assert await bus.subscribe([topic])
    assert await bus.subscribe([])
    await bus.unsubscribe([topic + b":unknown"])
    bus.publish(topic, b"once")
    bus.publish(topic, b"end")
    await recorder.heard(topic, b"end")
    assert recorder.payloads(topic) == [b"once", b"end"]


async def test_thousands_of_topics_are_confirmed_in_one_call_and_in_many(join: Join, topic: bytes) -> None:
    bus, recorder = await join()
    assert await bus.subscribe([topic + b":a:%d" % number for number in range(6_000)])
    confirmed = await asyncio.gather(*(bus.subscribe([topic + b":b:%d" % number]) for number in range(3_000)))
    assert all(confirmed)
    assert bus.status.topics == 9_000
    for name in (b":a:0", b":a:5999", b":b:0", b":b:2999"):
        bus.publish(topic + name, name)
        await recorder.heard(topic + name, name)
    assert recorder.gaps == 0


@pytest.mark.parametrize("turns", [0, 1, 3])
async def test_of_calls_that_race_each_other_the_last_one_counts(join: Join, topic: bytes, turns: int) -> None:
    bus, recorder = await join()

    async def race(last: Callable[[], Awaitable[object]]) -> None:
        racing: list[asyncio.Future[object]] = []
        for call in (
            lambda: bus.subscribe([topic]),
            lambda: bus.unsubscribe([topic]),
            lambda: bus.subscribe([topic]),
            lambda: bus.unsubscribe([topic]),
            last,
        ):
            racing.append(asyncio.ensure_future(call()))
            await asyncio.sleep(0)  # it has begun
            for _ in range(turns):
                await asyncio.sleep(0)
        await asyncio.wait_for(asyncio.gather(*racing), 2)

    await race(lambda: bus.subscribe([topic]))
    bus.publish(topic, b"heard")
    await recorder.heard(topic, b"heard")
    await race(lambda: bus.unsubscribe([topic]))
    bus.publish(topic, b"not heard")
    await bus.subscribe([topic + b":end"])
    bus.publish(topic + b":end", b"end")
    await recorder.heard(topic + b":end", b"end")
    assert recorder.payloads(topic) == [b"heard"]


async def test_a_subscribe_whose_topic_is_unsubscribed_meanwhile_answers_false_at_once(
    join: Join, topic: bytes
) -> None:
    bus, _ = await join()
    waiting = asyncio.ensure_future(bus.subscribe([topic]))
    await asyncio.sleep(0)
    await bus.unsubscribe([topic])
    assert await asyncio.wait_for(waiting, 1) is False
    assert bus.status.topics == 0


async def test_a_listener_that_raises_goes_on_hearing(
    join: Join, topic: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    bus, recorder = await join()
    await bus.subscribe([topic])
    recorder.fails = True
    bus.publish(topic, b"first")
    await recorder.heard(topic, b"first")
    bus.publish(topic, b"second")
    await recorder.heard(topic, b"second")
    assert "the listener of the bus failed" in caplog.text
    assert recorder.gaps == 0


async def test_the_status_tells_of_the_connection_and_the_topics(join: Join, topic: bytes) -> None:
    bus, _ = await join()
    await bus.subscribe([topic, topic + b":other"])
    await bus.unsubscribe([topic])
    assert await bus.flush(5)
    status = bus.status
    assert (status.connected, status.topics) == (True, 1)


async def test_a_ping_answers_with_the_seconds_it_took(join: Join) -> None:
    bus, _ = await join()
    assert 0 <= await bus.ping() < 2
    assert all(took < 2 for took in await asyncio.gather(*(bus.ping() for _ in range(20))))


async def test_a_flush_waits_until_everything_is_confirmed(join: Join, topic: bytes) -> None:
    bus, _ = await join()
    for number in range(2_000):
        bus.publish(topic, b"%d" % number)
    assert await bus.flush(10)
    assert bus.status.unconfirmed == 0


async def test_what_was_published_just_before_closing_arrives(join: Join, topic: bytes) -> None:
    (one, _), (two, recorder) = await join(), await join()
    await two.subscribe([topic])
    one.publish(topic, b"goodbye")
    await one.close()
    await recorder.heard(topic, b"goodbye")


async def test_after_closing_nothing_is_heard_or_published_and_nothing_raises(join: Join, topic: bytes) -> None:
    (one, hears_one), (two, hears_two) = await join(), await join()
    await one.subscribe([topic])
    await two.subscribe([topic])
    await one.close()
    await one.close()
    one.publish(topic, b"of the closed")
    two.publish(topic, b"of the living")
    await hears_two.heard(topic, b"of the living")
    assert await one.subscribe([topic]) is False
    await one.unsubscribe([topic])
    assert one.status.connected is False
    assert hears_one.deliveries == []
    assert hears_two.payloads(topic) == [b"of the living"]
