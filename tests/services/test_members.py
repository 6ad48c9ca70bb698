from __future__ import annotations

import asyncio

import pytest

from chatapp.errors import Conflict, Forbidden, MemberNotFound, NotAMember, ValidationFailed
from chatapp.protocol.envelope import Kind
from chatapp.protocol.ids import UserId
from chatapp.protocol.topics import chat_topic, user_topic
from chatapp.storage import chats as chat_statements
from chatapp.storage import members as statements
from tests.world import World


async def test_an_admin_adds_members_and_each_is_a_row(world: World) -> None:
    one, two, three = [await world.somebody() for _ in range(3)]
    chat_id = await world.group(one)
    await world.messages.send(one, chat_id, "before")
    world.bus.forget()
    await world.members.add(one, chat_id, [three.user_id, two.user_id, two.user_id])
    told = world.bus.in_chat(chat_id)
    assert [event["type"] for event in told] == ["system", "member_added"] * 2
    assert [event["payload"]["message"] for event in told[::2]] == [
        f"{one.username} added {two.username}",
        f"{one.username} added {three.username}",
    ]
    assert [event["payload"]["seq"] for event in told[::2]] == [2, 3]
    (envelope,) = world.bus.envelopes(user_topic(three.user_id))
    assert (envelope.kind, envelope.position, envelope.subject) == (Kind.JOINED, 3, three.user_id)


async def test_what_was_before_the_joining_is_not_unread(world: World) -> None:
    one, two = await world.somebody(), await world.somebody()
    chat_id = await world.group(one)
    await world.messages.send(one, chat_id, "before")
    await world.members.add(one, chat_id, [two.user_id])
    await world.messages.send(one, chat_id, "after")
    assert (await world.chats.get(two, chat_id)).unread_count == 1


async def test_adding_someone_twice_is_no_error_and_no_news(world: World) -> None:
    one, two = await world.somebody(), await world.somebody()
    chat_id = await world.group(one, two)
    await world.members.add(one, chat_id, [two.user_id, one.user_id])
    assert world.bus.in_chat(chat_id) == []


async def test_the_same_user_added_at_once_by_many_is_added_once(world: World) -> None:
    one, two = await world.somebody(), await world.somebody()
    chat_id = await world.group(one)
    await asyncio.gather(*(world.members.add(one, chat_id, [two.user_id]) for _ in range(6)))
    assert (await world.chats.get(two, chat_id)).last_seq == 1


async def test_an_unknown_user_keeps_all_of_them_out(world: World) -> None:
    one, two = await world.somebody(), await world.somebody()
    chat_id = await world.group(one)
    with pytest.raises(ValidationFailed) as refused:
        await world.members.add(one, chat_id, [two.user_id, UserId(2**62)])
    assert [(problem.tag, problem.value) for problem in refused.value.messages] == [("exists", str(2**62))]
    assert (await world.chats.get(one, chat_id)).member_count == 1


@pytest.mark.parametrize("act", ["add", "set_admin", "remove"])
async def test_only_admins_decide_about_others(world: World, act: str) -> None:
    one, two, three = [await world.somebody() for _ in range(3)]
    chat_id = await world.group(one, two, three)
    acts = {
        "add": (world.members.add(two, chat_id, [three.user_id]), "only admins can add members"),
        "set_admin": (
            world.members.set_admin(two, chat_id, two.user_id, is_admin=True),
            "only admins can change roles",
        ),
        "remove": (world.members.remove(two, chat_id, three.user_id), "only admins can remove members"),
    }
    for name, (doing, sentence) in acts.items():
        if name == act:
            with pytest.raises(Forbidden, match=sentence) as refused:
                await doing
            assert refused.value.code_word == "not_an_admin"
        else:
            doing.close()


async def test_an_admin_removes_and_the_removed_hears_it_last(world: World) -> None:
    one, two = await world.somebody(), await world.somebody()
    chat_id = await world.group(one, two)
    await world.members.remove(one, chat_id, two.user_id)
    (envelope,) = world.bus.envelopes(chat_topic(chat_id))
    assert (envelope.kind, envelope.subject, envelope.position) == (Kind.REMOVED, two.user_id, 1)
    system, removed = world.bus.in_chat(chat_id)
    assert system["payload"]["message"] == f"{one.username} removed {two.username}"
    assert removed["payload"]["username"] == two.username
    with pytest.raises(NotAMember):
        await world.chats.get(two, chat_id)
    with pytest.raises(MemberNotFound):
        await world.members.remove(one, chat_id, two.user_id)


async def test_one_may_leave(world: World) -> None:
    one, two = await world.somebody(), await world.somebody()
    chat_id = await world.group(one, two)
    await world.members.remove(two, chat_id, two.user_id)
    assert world.bus.in_chat(chat_id)[0]["payload"]["message"] == f"{two.username} left the chat"
    with pytest.raises(NotAMember):
        await world.members.remove(two, chat_id, two.user_id)


async def test_when_the_last_admin_leaves_the_longest_standing_member_becomes_one(world: World) -> None:
    one, two, three = [await world.somebody() for _ in range(3)]
    chat_id = await world.group(one)
    await world.members.add(one, chat_id, [three.user_id])
    await world.members.add(one, chat_id, [two.user_id])
    world.bus.forget()
    await world.members.remove(one, chat_id, one.user_id)
    members = await world.members.page(two, chat_id, limit=10, offset=0)
    assert [(member.user_id, member.is_admin) for member in members] == [(three.user_id, True), (two.user_id, False)]
    sentences = [event["payload"]["message"] for event in world.bus.in_chat(chat_id) if event["type"] == "system"]
    assert sentences == [f"{one.username} left the chat", f"{three.username} is now an admin"]


async def test_the_last_to_leave_takes_the_chat_along(world: World) -> None:
    one = await world.somebody()
    chat_id = await world.group(one)
    await world.members.remove(one, chat_id, one.user_id)
    assert await chat_statements.get(world.database, chat_id) is None
    assert [event["type"] for event in world.bus.in_chat(chat_id)] == ["chat_deleted"]


async def test_a_role_is_given_and_taken(world: World) -> None:
    one, two = await world.somebody(), await world.somebody()
    chat_id = await world.group(one, two)
    assert (await world.members.set_admin(one, chat_id, two.user_id, is_admin=True)).is_admin
    assert (await world.members.set_admin(one, chat_id, two.user_id, is_admin=True)).is_admin
    assert not (await world.members.set_admin(two, chat_id, one.user_id, is_admin=False)).is_admin
    told = world.bus.in_chat(chat_id)
    assert [event["type"] for event in told] == ["system", "chat_updated"] * 2
    assert told[0]["payload"]["message"] == f"{one.username} made {two.username} an admin"
    assert [event["payload"]["is_admin"] for event in told[1::2]] == [True, False]


async def test_the_last_admin_keeps_the_role(world: World) -> None:
    one, two = await world.somebody(), await world.somebody()
    chat_id = await world.group(one, two)
    with pytest.raises(Conflict) as refused:
        await world.members.set_admin(one, chat_id, one.user_id, is_admin=False)
    assert refused.value.code_word == "last_admin"


async def test_the_role_of_a_stranger_cannot_be_set(world: World) -> None:
    one, stranger = await world.somebody(), await world.somebody()
    chat_id = await world.group(one)
    with pytest.raises(MemberNotFound):
        await world.members.set_admin(one, chat_id, stranger.user_id, is_admin=True)


async def test_a_direct_chat_stays_as_it_is(world: World) -> None:
    one, two, three = [await world.somebody() for _ in range(3)]
    chat_id = await world.direct(one, two)
    for act in (
        world.members.add(one, chat_id, [three.user_id]),
        world.members.remove(one, chat_id, two.user_id),
        world.members.remove(one, chat_id, one.user_id),
        world.members.remove(two, chat_id, two.user_id),
        world.members.set_admin(one, chat_id, two.user_id, is_admin=True),
    ):
        with pytest.raises(Forbidden) as refused:
            await act
        assert refused.value.code_word == "direct_chat"


async def test_members_are_listed_in_the_order_of_joining(world: World) -> None:
    people = [await world.somebody() for _ in range(4)]
    chat_id = await world.group(people[3])
    for person in people[:3]:
        await world.members.add(people[3], chat_id, [person.user_id])
    expected = [people[3].user_id, *(person.user_id for person in people[:3])]
    listed = await world.members.page(people[0], chat_id, limit=10, offset=0)
    assert [member.user_id for member in listed] == expected
    listed = await world.members.page(people[0], chat_id, limit=2, offset=1)
    assert [member.user_id for member in listed] == expected[1:3]
    assert await world.members.page(people[0], chat_id, limit=2, offset=9) == []


async def test_of_sends_and_changes_at_the_same_time_every_one_has_its_place(world: World) -> None:
    one = await world.somebody()
    others = [await world.somebody() for _ in range(5)]
    chat_id = await world.group(one)
    await asyncio.gather(
        *(world.members.add(one, chat_id, [other.user_id]) for other in others),
        *(world.messages.send(one, chat_id, f"hello {n}") for n in range(20)),
        *(world.chats.rename(one, chat_id, f"name {n}") for n in range(5)),
    )
    async with world.database.read() as connection:
        rows = await connection.exec_driver_sql("SELECT seq FROM messages WHERE chat_id = $1 ORDER BY seq", (chat_id,))
        seqs = list(rows.scalars())
    assert seqs == list(range(1, 31))
    joined = await statements.joined_since(world.database, [o.user_id for o in others], one.issued_at)
    rows_of_joining = {
        e["payload"]["user_id"]: e["payload"]["seq"] for e in world.bus.in_chat(chat_id) if e["type"] == "member_added"
    }
    assert {joining.user_id: joining.joined_seq for joining in joined} == rows_of_joining
