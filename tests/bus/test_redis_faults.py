"""What the Redis bus survives. Each test has a Valkey of its own and may do to it what it likes."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from chatapp.bus.limits import RedisBusLimits
from chatapp.bus.redis import RedisBus
from chatapp.errors import Unavailable
from tests.bus.private_valkey import PrivateValkey
from tests.bus.recorder import Recorder, eventually

TOPIC = b"chat:1"
QUICK = RedisBusLimits(
    publish_timeout_s=0.5,
    connect_timeout_s=0.5,
    subscribe_timeout_s=1.0,
    ping_timeout_s=0.5,
    heartbeat_interval_s=0.2,
    heartbeats_missed=5,
    close_timeout_s=0.2,
)
PATIENT = msgspec.structs.replace(QUICK, publish_timeout_s=20.0, heartbeats_missed=1_000, subscribe_timeout_s=0.3)
"""Takes nothing for dead."""

Join = Callable[..., Awaitable[tuple[RedisBus, Recorder]]]


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[PrivateValkey]:
    valkey = PrivateValkey(tmp_path)
    valkey.start()
    yield valkey
    valkey.kill()


@pytest.fixture
async def join(valkey: PrivateValkey) -> AsyncIterator[Join]:
    """A replica that hears ``TOPIC``; all end with the test."""
    buses: list[RedisBus] = []

    async def join(limits: RedisBusLimits = QUICK) -> tuple[RedisBus, Recorder]:
        bus, recorder = RedisBus.from_url(valkey.url, limits), Recorder()
        buses.append(bus)
        await bus.start(recorder)
        await eventually(lambda: bus.status.connected)
        assert await bus.subscribe([TOPIC])
        return bus, recorder

    yield join
    for bus in buses:
        await bus.close()


async def is_whole_again(bus: RedisBus, recorder: Recorder, *, gaps: int = 1) -> None:
    """It has told of the gap, is connected, and hears what is published from now on."""
    await eventually(lambda: recorder.gaps >= gaps)
    await eventually(lambda: bus.status.connected)
    payload = b"whole after %d" % recorder.gaps
    bus.publish(TOPIC, payload)
    await recorder.heard(TOPIC, payload)


async def test_it_starts_at_once_while_redis_is_away_and_catches_up(valkey: PrivateValkey) -> None:
    valkey.kill()
    bus, recorder = RedisBus.from_url(valkey.url, QUICK), Recorder()
    began = time.monotonic()
    await bus.start(recorder)
    bus.publish(TOPIC, b"early")
    assert time.monotonic() - began < 0.2
    assert await bus.subscribe([TOPIC]) is False
    assert (bus.status.connected, bus.status.topics) == (False, 1)
    assert bus.status.unconfirmed >= 1
    with pytest.raises(Unavailable):
        await bus.ping()
    valkey.start()
    await is_whole_again(bus, recorder)
    assert await bus.flush(5)
    await bus.close()


async def test_a_killed_and_emptied_redis_is_a_gap_and_then_everything_is_heard_again(
    valkey: PrivateValkey, join: Join
) -> None:
    bus, recorder = await join()
    others = [b"chat:%d" % number for number in range(2, 1_500)]
    assert await bus.subscribe(others)
    valkey.kill()
    await eventually(lambda: not bus.status.connected)
    await bus.unsubscribe([others[0]])
    for number in range(100):
        bus.publish(TOPIC, b"%d" % number)
    assert await bus.flush(0.1) is False
    assert recorder.gaps == 0
    valkey.start()
    await is_whole_again(bus, recorder)
    assert await bus.flush(5)
    assert (bus.stats.dropped, recorder.gaps) == (0, 1)
    with valkey.admin() as admin:
        assert len(admin.pubsub_channels()) == len(others) + 1  # ours, and the heartbeat's


async def test_a_redis_that_freezes_is_noticed_and_nothing_is_lost_to_who_stays_subscribed(
    valkey: PrivateValkey, join: Join
) -> None:
    bus, recorder = await join()
    async with Redis.from_url(valkey.url, protocol=2) as witness, witness.pubsub() as hearing:
        await hearing.subscribe(TOPIC.decode())
        valkey.freeze()
        for number in range(1_000):
            bus.publish(TOPIC, b"%d" % number)
        await eventually(lambda: not bus.status.connected)
        with pytest.raises(Unavailable):
            await bus.ping()
        valkey.thaw()
        assert await bus.flush(10)
        await is_whole_again(bus, recorder)
        first_seen: dict[int, None] = {}
        async with asyncio.timeout(10):
            while len(first_seen) < 1_000:
                message = await hearing.get_message(ignore_subscribe_messages=True, timeout=1)
                if message is not None and bytes(message["data"]).isdigit():
                    first_seen[int(message["data"])] = None
    assert list(first_seen) == list(range(1_000))
    assert bus.stats.retried > 0
    assert bus.stats.dropped == 0


async def test_a_killed_subscription_is_a_gap_each_time(valkey: PrivateValkey, join: Join) -> None:
    bus, recorder = await join()
    for times in range(1, 4):
        valkey.command("CLIENT", "KILL", "TYPE", "pubsub")
        await is_whole_again(bus, recorder, gaps=times)
    assert recorder.gaps == bus.stats.gaps == bus.stats.interruptions == 3


async def test_a_killed_publisher_publishes_again_and_the_subscription_is_untouched(
    valkey: PrivateValkey, join: Join
) -> None:
    bus, recorder = await join()
    for number in range(200):
        if number % 50 == 10:
            valkey.command("CLIENT", "KILL", "TYPE", "normal")
        bus.publish(TOPIC, b"%d" % number)
        await asyncio.sleep(0)
    assert await bus.flush(5)
    await recorder.heard(TOPIC, b"199")
    assert list(dict.fromkeys(recorder.payloads(TOPIC))) == [b"%d" % number for number in range(200)]
    assert recorder.gaps == 0


async def test_a_paused_redis_is_survived(valkey: PrivateValkey, join: Join) -> None:
    bus, recorder = await join()
    valkey.command("CLIENT", "PAUSE", 2_000, "ALL")
    bus.publish(TOPIC, b"during the pause")
    await eventually(lambda: not bus.status.connected)
    await is_whole_again(bus, recorder)
    assert await bus.flush(5)


async def test_being_cut_off_for_a_full_output_buffer_is_a_gap(valkey: PrivateValkey, join: Join) -> None:
    bus, recorder = await join()
    valkey.command("CONFIG", "SET", "client-output-buffer-limit", "pubsub 256kb 128kb 1")
    flood = "for n = 1, 400 do redis.call('PUBLISH', ARGV[1], string.rep('x', 10000)) end"
    valkey.command("EVAL", flood, 0, TOPIC.decode())  # nothing is sent out while a script runs
    await is_whole_again(bus, recorder)


async def test_a_listener_that_raises_on_a_gap_goes_on_hearing(valkey: PrivateValkey, join: Join) -> None:
    bus, recorder = await join()
    recorder.fails = True
    valkey.command("CLIENT", "KILL", "TYPE", "pubsub")
    await is_whole_again(bus, recorder)


async def test_a_subscribe_that_is_confirmed_too_late_is_followed_by_a_gap(valkey: PrivateValkey, join: Join) -> None:
    bus, recorder = await join(PATIENT)
    valkey.freeze()
    assert await bus.subscribe([b"chat:late"]) is False
    assert recorder.gaps == 0
    valkey.thaw()
    await eventually(lambda: recorder.gaps == 1)
    bus.publish(b"chat:late", b"heard")
    await recorder.heard(b"chat:late", b"heard")
    assert bus.stats.interruptions == 0


async def test_unsubscribing_while_away_leaves_nothing_behind(valkey: PrivateValkey, join: Join) -> None:
    bus, recorder = await join()
    valkey.kill()
    await eventually(lambda: not bus.status.connected)
    waiting = asyncio.ensure_future(bus.subscribe([b"chat:passing"]))
    await asyncio.sleep(0)
    await bus.unsubscribe([b"chat:passing"])
    assert await asyncio.wait_for(waiting, 0.5) is False
    valkey.start()
    await is_whole_again(bus, recorder)
    with valkey.admin() as admin:
        assert admin.pubsub_channels("chat:passing") == []


async def test_past_the_bound_the_oldest_is_forgotten_and_counted(valkey: PrivateValkey, join: Join) -> None:
    bus, _ = await join(msgspec.structs.replace(QUICK, outbox_payloads=50))
    async with Redis.from_url(valkey.url, protocol=2) as witness, witness.pubsub() as hearing:
        await hearing.subscribe(TOPIC.decode())
        valkey.freeze()
        bus.publish(TOPIC, b"under way")
        await asyncio.sleep(0)
        for number in range(200):
            bus.publish(TOPIC, b"%d" % number)
        assert bus.status.unconfirmed == 50
        assert bus.stats.dropped >= 151
        valkey.thaw()
        await eventually(lambda: bus.status.unconfirmed == 0)
        heard: list[bytes] = []
        async with asyncio.timeout(10):
            while b"199" not in heard:
                message = await hearing.get_message(ignore_subscribe_messages=True, timeout=1)
                if message is not None:
                    heard.append(message["data"])
    assert [payload for payload in dict.fromkeys(heard) if payload != b"under way"] == [
        b"%d" % number for number in range(150, 200)
    ]


async def test_what_a_busy_redis_turns_down_is_published_later(valkey: PrivateValkey, join: Join) -> None:
    bus, _ = await join(msgspec.structs.replace(PATIENT, connect_timeout_s=5.0))
    valkey.command("CONFIG", "SET", "busy-reply-threshold", 1)
    script = asyncio.create_task(asyncio.to_thread(run_endlessly, valkey))
    await eventually(lambda: is_busy(valkey))
    bus.publish(TOPIC, b"patience")
    await eventually(lambda: bus.stats.retried > 0)
    valkey.command("SCRIPT", "KILL")
    await script
    assert await bus.flush(10)
    assert bus.stats.dropped == 0


def run_endlessly(valkey: PrivateValkey) -> None:
    with pytest.raises(ResponseError, match="killed"):
        valkey.command("EVAL", "while true do end", 0)


def is_busy(valkey: PrivateValkey) -> bool:
    try:
        valkey.command("PING")
    except ResponseError as error:
        return str(error).startswith("BUSY")
    return False


async def test_a_topic_that_redis_refuses_does_not_hold_up_the_others(valkey: PrivateValkey, join: Join) -> None:
    bus, recorder = await join()
    valkey.command("ACL", "SETUSER", "default", "resetchannels", "&chat*")
    bus.publish(b"forbidden", b"1")
    bus.publish(TOPIC, b"2")
    await recorder.heard(TOPIC, b"2")
    assert bus.stats.dropped == 1


async def test_subscribing_and_unsubscribing_while_connections_are_killed_ends_as_the_last_calls_say(
    valkey: PrivateValkey, join: Join
) -> None:
    bus, recorder = await join()
    dice = random.Random(7)
    topics = [b"chat:%d" % number for number in range(100, 160)]
    wanted: set[bytes] = set()
    calls: list[asyncio.Future[object]] = []
    for number in range(600):
        topic = dice.choice(topics)
        if topic in wanted:
            wanted.discard(topic)
            calls.append(asyncio.ensure_future(bus.unsubscribe([topic])))
        else:
            wanted.add(topic)
            calls.append(asyncio.ensure_future(bus.subscribe([topic])))
        if number % 100 == 50:
            valkey.command("CLIENT", "KILL", "TYPE", "pubsub")
        if number % 3 == 0:
            await asyncio.sleep(0.001)
    await asyncio.wait_for(asyncio.gather(*calls), 10)
    await eventually(lambda: bus.status.connected)
    assert await bus.subscribe(wanted)
    for topic in topics:
        bus.publish(topic, b"who hears?")
    bus.publish(TOPIC, b"end")
    await recorder.heard(TOPIC, b"end")
    assert {delivery.topic for delivery in recorder.deliveries} - {TOPIC} == wanted
    with valkey.admin() as admin:
        assert set(admin.pubsub_channels("chat:1?*")) == wanted


async def test_closing_while_redis_is_away_takes_no_longer_than_its_limit(valkey: PrivateValkey, join: Join) -> None:
    bus, _ = await join()
    waiting = asyncio.ensure_future(bus.subscribe([b"chat:2"]))
    valkey.freeze()
    bus.publish(TOPIC, b"unheard")
    began = time.monotonic()
    await bus.close()
    assert time.monotonic() - began < QUICK.close_timeout_s + 0.5
    await asyncio.wait_for(waiting, 1)
    valkey.thaw()


async def test_a_replica_that_was_busy_itself_does_not_take_redis_for_dead(valkey: PrivateValkey, join: Join) -> None:
    bus, recorder = await join()
    time.sleep(QUICK.heartbeat_interval_s * (QUICK.heartbeats_missed + 2))  # nothing on the loop runs meanwhile
    assert await bus.ping() < 1
    assert (recorder.gaps, bus.stats.interruptions) == (0, 0)


async def test_a_password_is_used_and_never_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    (tmp_path / "own").mkdir()
    valkey = PrivateValkey(tmp_path / "own", password="open-sesame")
    valkey.start()
    try:
        knows = RedisBus.from_url(valkey.url, QUICK)
        await knows.start(Recorder())
        assert await knows.subscribe([TOPIC])
        wrong = RedisBus.from_url(valkey.url.replace("open", "closed"), QUICK)
        await wrong.start(Recorder())
        assert await wrong.subscribe([TOPIC]) is False
        assert wrong.status.connected is False
        await wrong.close()
        await knows.close()
    finally:
        valkey.kill()
    assert "WRONGPASS" in caplog.text
    assert "sesame" not in caplog.text


@pytest.mark.parametrize(
    "url", ["http://:secret@host", "redis://:sec/ret@host:port", "redis://:secret@host:port/0", "secret", ""]
)
def test_an_address_that_is_none_is_not_quoted(url: str) -> None:
    with pytest.raises(ValueError, match="must look like") as failure:
        RedisBus.from_url(url)
    assert "sec" not in str(failure.value)
    assert failure.value.__cause__ is None
    assert failure.value.__context__ is None
