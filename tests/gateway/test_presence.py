"""Who is online, as clients of several replicas are told; what is lost or comes late changes nothing in the end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatapp.errors import Unavailable
from chatapp.gateway import presence as presence_module
from chatapp.gateway.online import UserSet
from chatapp.protocol.ids import ChatId, UserId
from chatapp.protocol.presence import Change, encode_changes
from tests.gateway.presence_world import PresenceReplica, PresenceSystem, Watcher

ADA, BOB, CYD = 1, 2, 3
DIRECT = {10: {ADA, BOB}}


async def system(count: int = 2, chats: dict[int, set[int]] | None = None) -> PresenceSystem:
    made = PresenceSystem(count, DIRECT if chats is None else chats)
    await made.begin()
    return made


# -- coming and going -------------------------------------------------------------------------------------------------


async def test_who_shares_a_chat_hears_of_coming_and_going_at_another_replica() -> None:
    world = await system()
    one, two = world.replicas
    ada, bob = one.connect(ADA), two.connect(BOB)
    await world.pass_time(1)
    assert ada.statuses == [(BOB, "online")]
    two.disconnect(bob)
    await world.pass_time(15)
    assert ada.statuses == [(BOB, "online")]
    left_at = world.store.now - 15
    await world.pass_time(20)
    assert ada.statuses == [(BOB, "online"), (BOB, "offline")]
    assert ada.heard[-1]["last_seen"].startswith("1970-01-01T00:1")  # a time of the store, near the end
    assert left_at > 0


async def test_who_shares_no_chat_hears_nothing_and_nobody_hears_of_themselves() -> None:
    world = await system(chats={10: {ADA, BOB}, 11: {CYD}})
    one, two = world.replicas
    cyd, ada = one.connect(CYD), one.connect(ADA)
    two.connect(BOB)
    two.connect(CYD)
    await world.pass_time(1)
    assert cyd.statuses == []
    assert ada.statuses == [(BOB, "online")]


async def test_a_user_with_several_connections_is_online_until_the_last_has_ended() -> None:
    world = await system()
    one, two = world.replicas
    ada = one.connect(ADA)
    bobs = [one.connect(BOB), two.connect(BOB), two.connect(BOB)]
    await world.pass_time(1)
    one.disconnect(bobs[0])
    two.disconnect(bobs[1])
    await world.pass_time(100)
    assert ada.statuses == [(BOB, "online")]
    two.disconnect(bobs[2])
    await world.pass_time(40)
    assert ada.statuses == [(BOB, "online"), (BOB, "offline")]


async def test_who_reconnects_elsewhere_within_seconds_was_never_away() -> None:
    world = await system()
    one, two = world.replicas
    ada, bob = one.connect(ADA), two.connect(BOB)
    for _ in range(10):  # a rolling restart, and another
        await world.pass_time(12)
        two.disconnect(bob)
        await world.pass_time(8)
        one, two = two, one
        bob = two.connect(BOB)
    await world.pass_time(1)
    assert ada.statuses == [(BOB, "online")]


async def test_who_shares_several_chats_is_told_once() -> None:
    world = await system(chats={10: {ADA, BOB}, 11: {ADA, BOB, CYD}, 12: {ADA, BOB}})
    ada = world.replicas[0].connect(ADA)
    world.replicas[1].connect(BOB)
    await world.pass_time(1)
    assert ada.statuses == [(BOB, "online")]


async def test_a_connection_hears_only_of_people_in_chats_that_it_follows() -> None:
    world = await system()
    one, two = world.replicas
    ada = one.connect(ADA)
    one.hub.leave(ada, ChatId(10))  # type: ignore[arg-type]
    two.connect(BOB)
    await world.pass_time(1)
    assert ada.statuses == []


async def test_the_users_of_a_killed_replica_go_offline_when_their_time_is_over() -> None:
    world = await system(3)
    ada, _ = world.replicas[0].connect(ADA), world.replicas[1].connect(BOB)
    await world.pass_time(1)
    del world.replicas[1]
    await world.pass_time(20)
    assert ada.statuses == [(BOB, "online")]
    await world.pass_time(20)
    assert ada.statuses == [(BOB, "online"), (BOB, "offline")]


async def test_whose_tokens_all_ended_is_offline_at_once() -> None:
    world = await system()
    one, two = world.replicas
    ada, bob = one.connect(ADA), two.connect(BOB)
    await world.pass_time(1)
    two.disconnect(bob)
    two.roll_call._ended[UserId(BOB)] = None
    one.roll_call._ended[UserId(BOB)] = None
    await world.pass_time(1)
    assert ada.statuses == [(BOB, "online"), (BOB, "offline")]


# -- faults -----------------------------------------------------------------------------------------------------------


async def test_an_outage_of_redis_takes_nobody_offline() -> None:
    world = await system()
    ada, _ = world.replicas[0].connect(ADA), world.replicas[1].connect(BOB)
    await world.pass_time(1)
    world.store.away = True
    await world.pass_time(100)
    world.store.away = False
    await world.compare()
    await world.pass_time(100)
    await world.compare()
    assert ada.statuses == [(BOB, "online")]


async def test_a_redis_that_comes_back_empty_takes_nobody_offline_but_those_who_left() -> None:
    world = await system(chats={10: {ADA, BOB}, 11: {ADA, CYD}})
    one, two = world.replicas
    ada, _, cyd = one.connect(ADA), two.connect(BOB), two.connect(CYD)
    await world.pass_time(1)
    world.store.away = True
    two.disconnect(cyd)
    await world.pass_time(5)
    world.store.flush()
    world.store.away = False
    await world.compare()
    await world.pass_time(40)
    assert ada.statuses == [(BOB, "online"), (CYD, "online")]
    await world.compare()
    assert ada.statuses == [(BOB, "online"), (CYD, "online"), (CYD, "offline")]
    assert not one.announced


async def test_what_the_bus_lost_is_found_by_comparing() -> None:
    world = await system()
    one, two = world.replicas
    ada = one.connect(ADA)
    world.loses = True
    bob = two.connect(BOB)
    await world.pass_time(1)
    assert ada.statuses == []
    await world.compare()
    assert ada.statuses == [(BOB, "online")]
    two.disconnect(bob)
    await world.pass_time(40)
    await world.compare()
    assert ada.statuses == [(BOB, "online"), (BOB, "offline")]


async def test_an_announcement_that_was_overtaken_is_no_news() -> None:
    world = await system()
    one = world.replicas[0]
    ada = one.connect(ADA)
    for at, online in ((5000.0, True), (4000.0, False), (5000.0, True)):
        one.presence.offer(Change(UserId(BOB), online, at, chat_ids=(ChatId(10),)))
        await one.presence.tell()
    assert ada.statuses == [(BOB, "online")]


async def test_who_changes_twice_before_it_is_told_has_not_changed() -> None:
    one = (await system()).replicas[0]
    ada = one.connect(ADA)
    one.presence.offer(Change(UserId(BOB), True, 5000.0, chat_ids=(ChatId(10),)))
    one.presence.offer(Change(UserId(BOB), False, 5001.0, chat_ids=(ChatId(10),)))
    await one.presence.tell()
    assert ada.statuses == []


async def test_past_the_bound_changes_are_dropped_and_found_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence_module, "WAITING_LIMIT", 1)
    world = await system(chats={10: {ADA, BOB}, 11: {ADA, CYD}})
    one, two = world.replicas
    ada = one.connect(ADA)
    two.connect(BOB)
    two.connect(CYD)
    await world.pass_time(1)
    assert len(ada.statuses) < 2
    assert one.presence.stats.dropped
    for _ in range(2):
        await world.compare()
    assert sorted(ada.statuses) == [(BOB, "online"), (CYD, "online")]


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x91\x93\x01\xc3", encode_changes([])[:-1] + b"\x91", b"{}"])
async def test_unreadable_payloads_are_dropped(payload: bytes) -> None:
    one = (await system()).replicas[0]
    one.presence.hear(payload)
    assert one.presence.stats.malformed == 1


async def test_many_writes_are_made_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence_module, "WRITES_AT_ONCE", 2)
    monkeypatch.setattr(presence_module, "TELL_S", 0.0)
    world = await system(chats={10: {ADA, BOB}, 11: {ADA, BOB}})
    one = world.replicas[0]
    adas = [one.connect(ADA) for _ in range(5)]
    world.replicas[1].connect(BOB)
    await world.pass_time(1)
    assert [ada.statuses for ada in adas] == [[(BOB, "online")]] * 5
    assert one.presence.stats.told == 5


# -- asking -----------------------------------------------------------------------------------------------------------


async def test_who_asks_is_told_of_those_who_share_a_chat() -> None:
    world = await system(chats={10: {ADA, BOB}, 11: {ADA, CYD}})
    one, two = world.replicas
    two.connect(BOB)
    two.connect(4)
    await world.pass_time(1)
    ada = one.connect(ADA)
    await one.ask(ada, CYD, BOB, 4, 10**15)
    assert ada.statuses == [(BOB, "online"), (CYD, "offline")]


async def test_before_it_is_known_the_answer_is_unavailable() -> None:
    one = PresenceSystem(1, DIRECT).replicas[0]
    with pytest.raises(Unavailable):
        await one.ask(one.connect(ADA), BOB)


# -- in the end it is right -------------------------------------------------------------------------------------------

USERS = list(range(1, 6))
CHATS = {10: {1, 2}, 11: {2, 3}, 12: {1, 3, 4, 5}}
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("connect"), st.sampled_from(USERS), st.integers(0, 2)),
        st.tuples(st.just("disconnect"), st.integers(0, 20)),
        st.tuples(st.just("pass"), st.sampled_from([0.5, 1, 9, 11, 25, 40])),
        st.tuples(st.just("kill"), st.integers(0, 2)),
        st.tuples(st.just("away")),
        st.tuples(st.just("back")),
        st.tuples(st.just("flush")),
        st.tuples(st.just("lose")),
        st.tuples(st.just("carry")),
        st.tuples(st.just("compare")),
    ),
    max_size=25,
)


class Run:
    """What hypothesis makes happen; watchers ask once and then only listen."""

    def __init__(self) -> None:
        self.world = PresenceSystem(3, CHATS)
        self.connected: list[tuple[PresenceReplica, Watcher]] = []
        self.unanswered: list[Watcher] = []

    async def step(self, step: tuple[Any, ...]) -> None:
        world = self.world
        match step:
            case ("connect", user, where):
                replica = world.replicas[where]
                watcher = replica.connect(user)
                self.connected.append((replica, watcher))
                await self.ask(replica, watcher)
            case ("disconnect", which) if self.connected:
                replica, watcher = self.connected.pop(which % len(self.connected))
                replica.disconnect(watcher)
            case ("pass", seconds):
                await world.pass_time(seconds)
            case ("kill", which):
                killed, world.replicas[which] = world.replicas[which], world.new()
                self.connected = [pair for pair in self.connected if pair[0] is not killed]
            case ("away",) | ("back",):
                world.store.away = step == ("away",)
            case ("flush",):
                world.store.flush()
            case ("lose",) | ("carry",):
                world.loses = step == ("lose",)
            case ("compare",):
                await world.compare()

    async def ask(self, replica: PresenceReplica, watcher: Watcher) -> None:
        try:
            await replica.ask(watcher, *USERS)
        except Unavailable:
            self.unanswered.append(watcher)

    async def settle(self) -> None:
        self.world.store.away = False
        for _ in range(4):
            await self.world.compare()
            await self.world.pass_time(25)
        await self.world.compare()
        online = {watcher.user_id for _, watcher in self.connected}
        for replica, watcher in self.connected:
            if watcher in self.unanswered:
                await replica.ask(watcher, *USERS)
            friends = set().union(*(m for m in CHATS.values() if watcher.user_id in m)) - {watcher.user_id}
            believed = {user: status == "online" for user, status in watcher.statuses}
            assert {user: believed.get(user, False) for user in friends} == {user: user in online for user in friends}
            assert believed.keys() <= friends | {watcher.user_id}


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_in_the_end_everybody_knows_who_is_online(steps: list[tuple[Any, ...]]) -> None:
    async def run() -> None:
        made = Run()
        for user in USERS:
            await made.step(("connect", user, user % 3))
        await made.world.begin()
        for step in steps:
            await made.step(step)
        await made.settle()

    asyncio.run(run())


@given(st.sets(st.integers(1, 5000)), st.sets(st.integers(1, 5000)))
def test_a_user_set_is_a_set(one: set[int], other: set[int]) -> None:
    mine, theirs = UserSet(map(UserId, one)), UserSet(map(UserId, other))
    assert set(mine - theirs) == one - other
    assert len(mine) == len(one)
    for user in other:
        mine.discard(UserId(user))
        assert UserId(user) not in mine
    assert sorted(mine) == sorted(one - other)
