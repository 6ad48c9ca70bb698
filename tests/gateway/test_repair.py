"""What the bus loses is found again: a gateway over a real PostgreSQL and a bus that forgets what it is told to."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chatapp.auth.principal import Principal
from chatapp.auth.revocations import Revocations
from chatapp.bus.memory import MemoryBus, MemoryHub
from chatapp.bus.port import Delivery
from chatapp.gateway.commands import Commands
from chatapp.gateway.connection import Connection, ConnectionLimits
from chatapp.gateway.following import Following
from chatapp.gateway.gateway import Gateway, GatewayLimits
from chatapp.gateway.hub import Hub
from chatapp.gateway.repair import Repair
from chatapp.gateway.starting import Starting
from chatapp.gateway.transport import Burst
from chatapp.protocol.codes import CloseCode
from chatapp.protocol.envelope import Envelope, Kind, pack, unpack
from chatapp.protocol.ids import ChatId, Seq, TokenId, UserId
from chatapp.protocol.topics import CONTROL, chat_topic, user_topic
from chatapp.services.chats import Chats
from chatapp.services.members import Members
from chatapp.services.messages import Messages, announce
from chatapp.services.publisher import Publisher
from chatapp.services.signals import Signals
from chatapp.storage import users
from chatapp.storage.engine import Database
from chatapp.storage.writer import MessageWriter
from tests.servers import Databases
from tests.world import opened_database

INTERVAL_S = 0.15
Event = dict[str, Any]


class ForgetfulBus(MemoryBus):
    """Loses the payloads that ``loses`` says."""

    def __init__(self, hub: MemoryHub) -> None:
        super().__init__(hub)
        self.loses: Callable[[bytes, bytes], bool] = lambda topic, payload: False

    def publish(self, topic: bytes, payload: bytes) -> None:
        if not self.loses(topic, payload):
            super().publish(topic, payload)

    def lose_all(self) -> None:
        self.loses = lambda topic, payload: topic != CONTROL

    def lose_positions(self, *positions: int) -> None:
        self.loses = lambda topic, payload: any(e.position in positions for e in unpack(payload))

    def lose_nothing(self) -> None:
        self.loses = lambda topic, payload: False


class Socket:
    """A ``Transport`` that takes everything at once."""

    hears_pongs = False
    backlog_bytes = 0

    def __init__(self) -> None:
        self.heard: list[Event] = []
        self.closed_with: CloseCode | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    def write(self, burst: Burst, at_once: bool = False) -> int:
        self.heard += [json.loads(text) for text in burst.texts]
        return 0

    async def drained(self) -> None:
        await self.gate.wait()

    def ping(self) -> None: ...

    def close(self, code: CloseCode, reason: str = "") -> None:
        self.closed_with = self.closed_with or code

    def abort(self) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def positions(self, chat_id: int) -> list[int]:
        return [
            event["payload"].get("changed_seq") or event["payload"]["seq"]
            for event in self.heard
            if event["type"] in ("message", "message_updated", "message_deleted", "system")
            and event["payload"].get("chat_id") == chat_id
            and event["payload"].get("seq") is not None
        ]

    def told(self, kind: str) -> list[Event]:
        return [event["payload"] for event in self.heard if event["type"] == kind]


class Side:
    """A replica's gateway and services over one bus, without a server."""

    def __init__(self, database: Database, memory: MemoryHub) -> None:
        clock = asyncio.get_running_loop().time
        self.bus = ForgetfulBus(memory)
        publisher = Publisher(self.bus)
        self.publisher = publisher
        self.writer = MessageWriter(database, lambda stored: announce(publisher, stored))
        self.messages = Messages(database, self.writer, publisher, 1000)
        self.chats = Chats(database, publisher)
        self.members = Members(database, publisher)
        self.hub = Hub(self.bus, clock)
        self.following = Following(self.hub, database, self.messages, replay_limit=1000, rooms_per_connection=100)
        self.repair = Repair(
            self.hub,
            self.bus,
            database,
            self.messages,
            self.following,
            clock,
            gap_wait_s=0.02,
            interval_s=INTERVAL_S,
        )
        self.starting = Starting(
            self.hub, self.following, database, heartbeat_s=25, rooms_per_connection=100, epoch="e"
        )
        commands = Commands(self.messages, self.chats, Signals(publisher), self.following)
        self.gateway = Gateway(
            self.hub,
            self.starting,
            commands,
            Revocations(lambda: datetime.now(UTC)),
            clock,
            GatewayLimits(),
            ConnectionLimits(),
        )
        self.hub.on_missing = self.repair.gap
        self.hub.on_interrupted = self.repair.interrupted
        self.hub.on_joined = self.following.joined

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Side]:
        await self.bus.start(self.hub)
        await self.hub.listen()
        self.writer.start()
        task = asyncio.get_running_loop().create_task(self.repair.run())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self.writer.close()
            for part in (self.starting, self.following, self.repair, self.gateway):
                await part.close()
            await self.bus.close()

    async def connect(
        self, who: Principal, *, follows_all: bool = True, resume: Mapping[ChatId, Seq] | None = None
    ) -> tuple[Connection, Socket]:
        socket = Socket()
        connection = self.gateway.accept(who, socket, follows_all=follows_all, resume=resume or {})
        await until(lambda: bool(socket.heard))
        assert socket.heard[0]["type"] == "ready"
        return connection, socket


class Scene:
    """Two replicas, and a chat of two people: ada's messages go in at one, bob listens at two."""

    def __init__(self, database: Database, one: Side, two: Side, ada: Principal, bob: Principal, chat: ChatId) -> None:
        self.database = database
        self.one, self.two = one, two
        self.ada, self.bob = ada, bob
        self.chat_id = chat

    async def send(self, *contents: str) -> None:
        for content in contents:
            await self.one.messages.send(self.ada, self.chat_id, content)


@pytest.fixture(scope="module")
async def repaired_database(databases: Databases) -> AsyncIterator[Database]:
    async with opened_database(databases.create("repair")) as database:
        yield database


@pytest.fixture
async def scene(repaired_database: Database) -> AsyncIterator[Scene]:
    memory = MemoryHub()
    one, two = Side(repaired_database, memory), Side(repaired_database, memory)
    async with one.running(), two.running():
        ada, bob = [await somebody(repaired_database, name) for name in ("ada", "bob")]
        made = await one.chats.create(ada, name="room", is_group=True, member_ids=[bob.user_id])
        yield Scene(repaired_database, one, two, ada, bob, made.chat.id)


async def somebody(database: Database, name: str) -> Principal:
    async with database.begin() as connection:
        profile = await users.insert(connection, f"{name}-{secrets.token_hex(6)}", "no password", "")
    now = datetime.now(UTC)
    return Principal(profile.id, profile.username, TokenId(secrets.token_hex(8)), 0, now, now + timedelta(hours=1))


# -- positions ----------------------------------------------------------------------------------------------------


async def test_a_hole_is_filled_from_the_database(scene: Scene) -> None:
    _, bob = await scene.two.connect(scene.bob)
    scene.one.bus.lose_positions(2, 3, 5)
    await scene.send("1", "2", "3", "4", "5", "6")
    await until(lambda: bob.positions(scene.chat_id) == [1, 2, 3, 4, 5, 6])
    assert [m["content"] for m in bob.told("message")] == ["1", "2", "3", "4", "5", "6"]
    assert scene.two.hub.stats.gaps >= 1
    assert scene.two.repair.stats.filled >= 3


async def test_the_last_message_before_a_silence_is_found_by_the_comparison(scene: Scene) -> None:
    _, bob = await scene.two.connect(scene.bob)
    await scene.send("heard")
    scene.one.bus.lose_all()
    await scene.send("lost")
    await until(lambda: bob.positions(scene.chat_id) == [1, 2])
    assert scene.two.repair.stats.behind >= 1


async def test_edits_deletions_and_renames_are_found_too(scene: Scene) -> None:
    _, bob = await scene.two.connect(scene.bob)
    sent = [await scene.one.messages.send(scene.ada, scene.chat_id, content) for content in ("a", "b")]
    await until(lambda: bob.positions(scene.chat_id) == [1, 2])
    scene.one.bus.lose_all()
    await scene.one.messages.edit(scene.ada, sent[0].message.id, "A")
    await scene.one.messages.delete(scene.ada, sent[1].message.id)
    await scene.one.chats.rename(scene.ada, scene.chat_id, "other")
    await until(lambda: bob.positions(scene.chat_id) == [1, 2, 3, 4, 5])
    assert [event["content"] for event in bob.told("message_updated")] == ["A"]
    assert [event["seq"] for event in bob.told("message_deleted")] == [2]
    assert [event["name"] for event in bob.told("chat_updated")] == ["other"]


async def test_with_a_bus_that_loses_everything_all_still_arrives_in_order(scene: Scene) -> None:
    _, bob = await scene.two.connect(scene.bob)
    _, ada = await scene.one.connect(scene.ada)
    scene.one.bus.lose_all()
    await scene.send(*(str(number) for number in range(1, 301)))
    for socket in (ada, bob):
        await until(lambda socket=socket: len(socket.positions(scene.chat_id)) == 300)  # type: ignore[misc]
        assert socket.positions(scene.chat_id) == list(range(1, 301))


async def test_while_the_bus_is_away_events_arrive_and_after_it_nothing_twice(scene: Scene) -> None:
    _, bob = await scene.two.connect(scene.bob)
    memory = scene.one.bus._hub
    memory.go_away()
    await scene.send("1", "2")
    await until(lambda: bob.positions(scene.chat_id) == [1, 2])
    await scene.send("3")
    memory.come_back()
    await scene.send("4")
    await until(lambda: bob.positions(scene.chat_id)[-1:] == [4])
    assert bob.positions(scene.chat_id) == [1, 2, 3, 4]


async def test_an_interruption_is_repaired_at_once(scene: Scene) -> None:
    _, bob = await scene.two.connect(scene.bob)
    scene.two.repair._interval_s = 60.0
    await scene.send("heard")
    await until(lambda: bob.positions(scene.chat_id) == [1])
    await asyncio.sleep(INTERVAL_S + 0.05)  # the wait that began before
    scene.one.bus.lose_all()
    await scene.send("lost")
    scene.two.hub.on_gap()
    await until(lambda: bob.positions(scene.chat_id) == [1, 2], within_s=5.0)


async def test_what_comes_twice_is_told_once(scene: Scene) -> None:
    _, bob = await scene.two.connect(scene.bob)
    publish = scene.one.bus.publish

    def twice(topic: bytes, payload: bytes) -> None:
        publish(topic, payload)
        publish(topic, payload)

    scene.one.bus.publish = twice  # type: ignore[method-assign]
    await scene.send("1", "2", "3")
    await until(lambda: len(bob.positions(scene.chat_id)) >= 3)
    await asyncio.sleep(0.05)
    assert bob.positions(scene.chat_id) == [1, 2, 3]


async def test_unreadable_payloads_harm_nobody(scene: Scene) -> None:
    _, bob = await scene.two.connect(scene.bob)
    of_another = pack([Envelope(Kind.LASTING, ChatId(scene.chat_id + 1), Seq(1), (b"x",))])
    for topic in (chat_topic(scene.chat_id), user_topic(scene.bob.user_id), CONTROL):
        for payload in (b"", b"\x01", b"\xff" * 40, of_another):
            scene.one.bus.publish(topic, payload)
    await scene.send("fine")
    await until(lambda: bob.positions(scene.chat_id) == [1])
    assert scene.two.hub.stats.malformed >= 2


async def test_an_edit_is_told_also_when_the_message_arrives_while_both_are_being_read(scene: Scene) -> None:
    _, bob = await scene.two.connect(scene.bob)
    late: list[bytes] = []

    def comes_late(topic: bytes, payload: bytes) -> bool:
        if all(envelope.position not in (1, 2) for envelope in unpack(payload)):
            return False
        late.append(payload)
        return True

    scene.one.bus.loses = comes_late
    between = scene.two.messages.between

    async def and_meanwhile_the_message_comes(
        chat_id: ChatId, *, start: Seq, after: Seq, upto: Seq, limit: int
    ) -> tuple[list[Envelope], Seq]:
        found = await between(chat_id, start=start, after=after, upto=upto, limit=limit)
        scene.two.hub.on_deliveries([Delivery(chat_topic(chat_id), late[0])])
        return found

    scene.two.messages.between = and_meanwhile_the_message_comes  # type: ignore[method-assign]
    message = await scene.one.messages.send(scene.ada, scene.chat_id, "as it was")
    await scene.one.messages.edit(scene.ada, message.message.id, "as it is")
    await scene.send("3")
    await until(lambda: bob.positions(scene.chat_id)[-1:] == [3])
    assert bob.positions(scene.chat_id) == [1, 2, 3]
    assert [event["content"] for event in bob.told("message_updated")] == ["as it is"]


# -- memberships --------------------------------------------------------------------------------------------------


async def test_a_removal_that_the_bus_lost_is_found_and_the_removed_hear_nothing_after(scene: Scene) -> None:
    connection, bob = await scene.two.connect(scene.bob)
    scene.one.bus.lose_all()
    await scene.one.members.remove(scene.ada, scene.chat_id, scene.bob.user_id)
    await scene.send("secret")
    await until(lambda: bool(bob.told("member_removed")))
    scene.one.bus.lose_nothing()
    await scene.send("secret too")
    await until(lambda: scene.two.hub.rooms.get(scene.chat_id) is None)
    assert not connection.chats
    assert bob.told("message") == []


async def test_a_joining_that_the_bus_lost_is_told_and_followed(scene: Scene) -> None:
    cyd = await somebody(scene.database, "cyd")
    _, socket = await scene.two.connect(cyd)
    scene.one.bus.lose_all()
    await scene.send("before")
    await scene.one.members.add(scene.ada, scene.chat_id, [cyd.user_id])
    await scene.send("after")
    await until(lambda: socket.positions(scene.chat_id) == [2, 3])
    assert [chat["id"] for chat in socket.told("new_chat")] == [scene.chat_id]


async def test_a_joining_that_the_bus_lost_is_told_once_to_who_follows_nothing_by_itself(scene: Scene) -> None:
    cyd = await somebody(scene.database, "cyd")
    connection, socket = await scene.two.connect(cyd, follows_all=False)
    scene.one.bus.lose_all()
    await scene.one.members.add(scene.ada, scene.chat_id, [cyd.user_id])
    await scene.send("2", "3")
    await until(lambda: bool(socket.told("new_chat")))
    looks = scene.two.repair.stats.compares
    await until(lambda: scene.two.repair.stats.compares >= looks + 4)
    # Where it stood when the user joined, so that following it from there on leaves nothing out.
    assert [(chat["id"], chat["last_seq"]) for chat in socket.told("new_chat")] == [(scene.chat_id, 1)]
    assert not connection.chats


async def test_a_joining_that_the_bus_told_or_that_ready_told_is_not_told_again(scene: Scene) -> None:
    cyd = await somebody(scene.database, "cyd")
    _, socket = await scene.two.connect(cyd, follows_all=False)
    await scene.one.members.add(scene.ada, scene.chat_id, [cyd.user_id])
    await until(lambda: bool(socket.told("new_chat")))
    _, later_socket = await scene.two.connect(cyd, follows_all=False)
    _, elsewhere = await scene.one.connect(cyd, follows_all=False)
    for side in (scene.one, scene.two):
        looks = side.repair.stats.compares
        await until(lambda side=side, looks=looks: side.repair.stats.compares >= looks + 4)  # type: ignore[misc]
    assert len(socket.told("new_chat")) == 1
    assert later_socket.told("new_chat") == elsewhere.told("new_chat") == []


async def test_who_goes_while_their_topic_is_being_subscribed_is_heard_when_they_come_back(scene: Scene) -> None:
    cyd = await somebody(scene.database, "cyd")
    subscribe = scene.two.bus.subscribe

    async def and_then_they_are_gone(topics: Collection[bytes]) -> bool:
        confirmed = await subscribe(topics)
        if user_topic(cyd.user_id) in topics:
            scene.two.bus.subscribe = subscribe  # type: ignore[method-assign]
            for connection in scene.two.hub.of_user(cyd.user_id):
                connection.ended()
            await scene.two.hub.sweep()
        return confirmed

    scene.two.bus.subscribe = and_then_they_are_gone  # type: ignore[method-assign]
    scene.two.gateway.accept(cyd, Socket(), follows_all=True, resume={})
    await until(lambda: scene.two.bus.subscribe is not and_then_they_are_gone)
    await until(lambda: cyd.user_id not in scene.two.hub.users)
    scene.two.repair._interval_s = 60.0
    await asyncio.sleep(INTERVAL_S + 0.05)
    _, socket = await scene.two.connect(cyd)
    await scene.one.members.add(scene.ada, scene.chat_id, [cyd.user_id])
    await until(lambda: bool(socket.told("new_chat")))


async def test_a_chats_end_that_the_bus_lost_is_told(scene: Scene) -> None:
    _, bob = await scene.two.connect(scene.bob)
    scene.one.bus.lose_all()
    await scene.one.chats.delete(scene.ada, scene.chat_id)
    await until(lambda: bob.told("chat_deleted") == [{"chat_id": scene.chat_id}])
    await until(lambda: scene.chat_id not in scene.two.hub.rooms)


async def test_a_chat_that_was_left_is_not_followed_again_by_itself(scene: Scene) -> None:
    connection, bob = await scene.two.connect(scene.bob)
    scene.two.following.leave(connection, scene.chat_id)
    looks = scene.two.repair.stats.compares
    await scene.send("unheard")
    await until(lambda: scene.two.repair.stats.compares >= looks + 4)
    assert not connection.chats
    assert bob.positions(scene.chat_id) == []


# -- followers that are not where the room is ---------------------------------------------------------------------


async def test_who_is_further_than_this_replica_hears_nothing_twice(scene: Scene) -> None:
    # The first follower's room is behind: the bus lost what came, and nothing was compared yet.
    scene.two.repair._interval_s = 60.0
    _, first = await scene.two.connect(scene.bob)
    await asyncio.sleep(INTERVAL_S + 0.05)
    scene.one.bus.lose_positions(1, 2, 3)
    await scene.send("1", "2", "3")
    # This one has heard 3 elsewhere.
    connection, second = await scene.two.connect(scene.bob, resume={scene.chat_id: Seq(3)})
    await until(lambda: bool(second.told("ack")))
    live = scene.two.hub.rooms[scene.chat_id]
    assert live.audience.ahead == {connection: 3}
    await scene.send("4", "5")
    for socket, expected in ((first, [1, 2, 3, 4, 5]), (second, [4, 5])):
        await until(lambda socket=socket: socket.positions(scene.chat_id)[-1:] == [5])  # type: ignore[misc]
        assert socket.positions(scene.chat_id) == expected
    await scene.send("6")
    await until(lambda: second.positions(scene.chat_id) == [4, 5, 6])


async def test_who_is_further_than_this_replica_hears_of_edits_to_what_it_has(scene: Scene) -> None:
    scene.two.repair._interval_s = 60.0
    await scene.two.connect(scene.bob)
    await asyncio.sleep(INTERVAL_S + 0.05)
    scene.one.bus.lose_positions(1, 2, 3)
    message = await scene.one.messages.send(scene.ada, scene.chat_id, "as it was")
    # This one has heard it elsewhere, before it was edited.
    connection, ahead = await scene.two.connect(scene.bob, resume={scene.chat_id: Seq(1)})
    await until(lambda: bool(ahead.told("ack")))
    assert scene.two.hub.rooms[scene.chat_id].audience.ahead == {connection: 1}
    await scene.one.messages.edit(scene.ada, message.message.id, "as it is")
    await scene.send("3", "4")
    await until(lambda: ahead.positions(scene.chat_id)[-1:] == [4])
    assert ahead.positions(scene.chat_id) == [2, 3, 4]


async def test_who_joined_again_after_a_removal_is_not_ended_by_it(scene: Scene) -> None:
    scene.two.repair._interval_s = 60.0
    connection, bob = await scene.two.connect(scene.bob)
    await asyncio.sleep(INTERVAL_S + 0.05)
    # What is in the chat is lost, what is for the user is not: the replica learns of the joining first.
    scene.one.bus.loses = lambda topic, payload: topic == chat_topic(scene.chat_id)
    await scene.one.members.remove(scene.ada, scene.chat_id, scene.bob.user_id)
    scene.two.hub.leave(connection, scene.chat_id)
    # Somebody else keeps the room open and behind.
    _, ada = await scene.two.connect(scene.ada)
    await scene.one.members.add(scene.ada, scene.chat_id, [scene.bob.user_id])
    await until(lambda: scene.chat_id in connection.chats)
    scene.one.bus.lose_nothing()
    await scene.send("3", "4")
    await until(lambda: ada.positions(scene.chat_id)[-1:] == [4])
    await until(lambda: bob.positions(scene.chat_id)[-2:] == [3, 4])


async def test_who_is_removed_while_being_replayed_to_hears_nothing_after(scene: Scene) -> None:
    await scene.send("1", "2", "3")
    connection, bob = await scene.two.connect(scene.bob, follows_all=False)
    bob.gate.clear()
    joining = asyncio.ensure_future(scene.two.following.join(connection, scene.chat_id, Seq(2)))
    await until(lambda: bob.positions(scene.chat_id) == [3])
    await scene.one.members.remove(scene.ada, scene.chat_id, scene.bob.user_id)
    await until(lambda: bool(bob.told("member_removed")))
    bob.gate.set()
    with pytest.raises(Exception, match="not a member"):
        await asyncio.wait_for(joining, 5)
    await scene.send("secret")
    await asyncio.sleep(2 * INTERVAL_S)
    assert bob.positions(scene.chat_id) == [3, 4]
    assert not connection.chats


async def test_who_goes_while_a_new_chat_is_being_followed_leaves_nothing_behind(scene: Scene) -> None:
    cyd = await somebody(scene.database, "cyd")
    connection, _ = await scene.two.connect(cyd)
    joined = scene.two.hub.on_joined

    def gone_at_once(envelope: Envelope, connections: Sequence[Connection]) -> None:
        joined(envelope, connections)
        connection.ended()

    scene.two.hub.on_joined = gone_at_once
    await scene.one.members.add(scene.ada, scene.chat_id, [cyd.user_id])
    await until(lambda: connection.closing and not scene.two.following._tasks)
    live = scene.two.hub.rooms.get(scene.chat_id)
    assert live is None or connection not in live.audience
    assert UserId(cyd.user_id) not in scene.two.hub.users


async def test_a_room_that_opens_with_a_hole_reads_it_soon(scene: Scene) -> None:
    scene.two.repair._interval_s = 60.0
    await asyncio.sleep(INTERVAL_S + 0.05)
    await scene.send("1", "2", "3")
    live = scene.two.hub.room(scene.chat_id)
    live.pins += 1
    live.room.receive([Envelope(Kind.LASTING, scene.chat_id, Seq(3), (b"{}",))], 0.0)
    scene.two.hub.open(live, Seq(1))
    await until(lambda: live.room.position == 3)


async def until(condition: Callable[[], bool], within_s: float = 8.0) -> None:
    """Wait for what has no event of its own."""
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.005)
