from __future__ import annotations

import asyncio

import pytest

from chatapp.errors import ChatNotFound, Forbidden, NotAMember, ValidationFailed
from chatapp.protocol.ids import ChatId, Seq, UserId
from tests.world import World

NO_CHAT = ChatId(2**62)


async def test_the_creator_is_member_and_admin_without_being_listed(world: World) -> None:
    creator, friend = await world.somebody(), await world.somebody()
    chat_id = await world.group(creator, friend)
    detail = await world.chats.get(creator, chat_id)
    assert {member.user_id: member.is_admin for member in detail.members} == {
        creator.user_id: True,
        friend.user_id: False,
    }
    assert (detail.member_count, detail.unread_count, detail.last_seq) == (2, 0, 0)


async def test_everybody_hears_of_a_new_chat_the_creator_too(world: World) -> None:
    creator, friend = await world.somebody(), await world.somebody()
    chat_id = await world.group(creator, friend, name="climbing")
    for user in (creator, friend):
        (event,) = world.bus.to_user(user.user_id)
        assert (event["type"], event["payload"]["id"], event["payload"]["name"]) == ("new_chat", chat_id, "climbing")
    assert world.bus.in_chat(chat_id) == []


@pytest.mark.parametrize("is_group", [True, False])
async def test_unknown_members_are_refused_and_nothing_is_created(world: World, is_group: bool) -> None:
    creator = await world.somebody()
    with pytest.raises(ValidationFailed) as refused:
        await world.chats.create(creator, name="x", is_group=is_group, member_ids=[UserId(2**62)])
    assert [(problem.field, problem.tag) for problem in refused.value.messages] == [("member_ids", "exists")]
    assert await world.chats.page(creator, limit=10, offset=0) == []


async def test_deleted_users_do_not_exist(world: World) -> None:
    creator, gone = await world.somebody(), await world.somebody()
    await world.users.delete(gone, gone.user_id)
    with pytest.raises(ValidationFailed):
        await world.chats.create(creator, name="x", is_group=True, member_ids=[gone.user_id])


@pytest.mark.parametrize(
    ("name", "count", "expected"),
    [
        ("", 1, [("name", "required")]),
        ("\u200b ", 1, [("name", "required")]),
        ("x" * 101, 1, [("name", "max")]),
        ("x", 0, [("member_ids", "min")]),
        ("x", 1001, [("member_ids", "max")]),
        ("a\0", 0, [("name", "type"), ("member_ids", "min")]),
    ],
)
async def test_a_group_needs_a_name_and_members(
    world: World, name: str, count: int, expected: list[tuple[str, str]]
) -> None:
    creator = await world.somebody()
    with pytest.raises(ValidationFailed) as refused:
        await world.chats.create(creator, name=name, is_group=True, member_ids=[creator.user_id] * count)
    assert [(problem.field, problem.tag) for problem in refused.value.messages] == expected


async def test_a_pair_has_one_direct_chat_whoever_asks(world: World) -> None:
    one, other = await world.somebody(), await world.somebody()
    first = await world.chats.create(one, name="", is_group=False, member_ids=[other.user_id])
    again = await world.chats.create(other, name="x", is_group=False, member_ids=[one.user_id, other.user_id])
    assert (first.created, again.created) == (True, False)
    assert again.chat.id == first.chat.id
    assert len(world.bus.to_user(one.user_id)) == 1


async def test_of_a_pair_that_asks_at_the_same_moment_one_makes_the_chat(world: World) -> None:
    one, other = await world.somebody(), await world.somebody()
    made = await asyncio.gather(
        *(
            world.chats.create(a, name="", is_group=False, member_ids=[b.user_id])
            for a, b in [(one, other), (other, one)] * 3
        )
    )
    assert len({each.chat.id for each in made}) == 1
    assert sum(each.created for each in made) == 1


async def test_one_can_talk_to_oneself(world: World) -> None:
    one = await world.somebody()
    first = await world.chats.create(one, name="", is_group=False, member_ids=[one.user_id])
    again = await world.chats.create(one, name="", is_group=False, member_ids=[one.user_id])
    assert (first.created, again.created, again.chat.id) == (True, False, first.chat.id)
    assert (await world.chats.get(one, first.chat.id)).member_count == 1


async def test_a_direct_chat_has_no_third(world: World) -> None:
    one, two, three = [await world.somebody() for _ in range(3)]
    with pytest.raises(ValidationFailed):
        await world.chats.create(one, name="", is_group=False, member_ids=[two.user_id, three.user_id])


async def test_lists_begin_with_what_was_last_active(world: World) -> None:
    one, two = await world.somebody(), await world.somebody()
    first, second = await world.group(one, two), await world.direct(one, two)
    await world.messages.send(one, first, "hello")
    assert [chat.id for chat in await world.chats.page(one, limit=10, offset=0)] == [first, second]
    await world.messages.send(two, second, "hello")
    assert [chat.id for chat in await world.chats.page(one, limit=10, offset=0)] == [second, first]
    assert [chat.id for chat in await world.chats.page(one, limit=1, offset=1)] == [first]


async def test_a_list_without_members_still_counts_them(world: World) -> None:
    one, two = await world.somebody(), await world.somebody()
    await world.group(one, two)
    (chat,) = await world.chats.page(one, limit=10, offset=0, with_members=False)
    assert (chat.members, chat.member_count) == ([], 2)


async def test_unread_are_texts_of_others_that_were_not_deleted(world: World) -> None:
    one, two = await world.somebody(), await world.somebody()
    chat_id = await world.group(one, two)
    await world.messages.send(one, chat_id, "mine")
    theirs = [await world.messages.send(two, chat_id, f"theirs {n}") for n in range(3)]
    await world.messages.delete(two, theirs[0].message.id)
    await world.chats.rename(one, chat_id, "renamed")
    assert (await world.chats.get(one, chat_id)).unread_count == 2
    await world.chats.mark_read(one, chat_id, theirs[1].message.seq)
    detail = await world.chats.get(one, chat_id)
    assert (detail.unread_count, detail.last_read_seq) == (1, theirs[1].message.seq)


async def test_a_read_mark_moves_forward_only_and_not_past_the_end(world: World) -> None:
    one, two = await world.somebody(), await world.somebody()
    chat_id = await world.group(one, two)
    for _ in range(3):
        await world.messages.send(two, chat_id, "hello")
    world.bus.forget()
    assert await world.chats.mark_read(one, chat_id, Seq(2)) == 2
    assert await world.chats.mark_read(one, chat_id, Seq(1)) == 2
    assert await world.chats.mark_read(one, chat_id, Seq(2**63 - 1)) == 3
    assert await world.chats.mark_read(one, chat_id, Seq(99)) == 3
    told = [event["payload"] for event in world.bus.in_chat(chat_id)]
    assert told == [{"chat_id": chat_id, "user_id": one.user_id, "seq": seq} for seq in (2, 3)]


async def test_strangers_learn_nothing(world: World) -> None:
    one, stranger = await world.somebody(), await world.somebody()
    for chat_id in (await world.group(one), NO_CHAT):
        for act in (
            world.chats.get(stranger, chat_id),
            world.chats.rename(stranger, chat_id, "x"),
            world.chats.mark_read(stranger, chat_id, Seq(1)),
            world.members.page(stranger, chat_id, limit=10, offset=0),
            world.members.add(stranger, chat_id, [stranger.user_id]),
            world.members.remove(stranger, chat_id, stranger.user_id),
            world.members.set_admin(stranger, chat_id, stranger.user_id, is_admin=True),
        ):
            with pytest.raises(NotAMember):
                await act


async def test_an_admin_renames_and_everybody_is_told_in_order(world: World) -> None:
    one, two = await world.somebody(), await world.somebody()
    chat_id = await world.group(one, two)
    chat = await world.chats.rename(one, chat_id, " bouldering ")
    assert (chat.name, chat.last_seq) == ("bouldering", 1)
    system, updated = world.bus.in_chat(chat_id)
    assert system["payload"]["message"] == f"{one.username} renamed the chat to bouldering"
    assert (updated["type"], updated["payload"]["name"], updated["payload"]["seq"]) == ("chat_updated", "bouldering", 1)
    with pytest.raises(Forbidden, match="only admins can update the chat") as refused:
        await world.chats.rename(two, chat_id, "mine")
    assert refused.value.code_word == "not_an_admin"


async def test_the_same_name_again_is_no_news(world: World) -> None:
    one = await world.somebody()
    chat_id = await world.group(one, name="climbing")
    assert (await world.chats.rename(one, chat_id, "climbing")).last_seq == 0
    assert world.bus.in_chat(chat_id) == []


async def test_only_the_creator_deletes_and_all_is_gone(world: World) -> None:
    one, two = await world.somebody(), await world.somebody()
    chat_id = await world.group(one, two)
    await world.messages.send(two, chat_id, "hello")
    with pytest.raises(Forbidden, match="only the creator can delete the chat"):
        await world.chats.delete(two, chat_id)
    await world.chats.delete(one, chat_id)
    assert world.bus.in_chat(chat_id)[-1] == {"type": "chat_deleted", "payload": {"chat_id": chat_id}}
    with pytest.raises(NotAMember):
        await world.chats.get(one, chat_id)
    with pytest.raises(ChatNotFound):
        await world.chats.delete(one, chat_id)
