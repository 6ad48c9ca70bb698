from __future__ import annotations

import asyncio

import pytest

from chatapp.errors import Forbidden, InvalidCredentials, InvalidToken, UserNotFound, ValidationFailed
from chatapp.protocol.ids import ChatId, Seq, UserId
from chatapp.storage import chats as chat_statements
from tests.world import PASSWORD, World


async def test_a_user_is_found_by_id(world: World) -> None:
    actor = await world.somebody()
    assert (await world.users.get(actor.user_id)).username == actor.username
    with pytest.raises(UserNotFound):
        await world.users.get(UserId(2**63 - 1))


@pytest.mark.parametrize("typed", ["Zoë-", "ZOË-", "  zoë-", "Zoe\u0308-"])
async def test_search_goes_by_the_beginning_without_regard_to_case(world: World, typed: str) -> None:
    actor = await world.somebody("Zoë")
    found = await world.users.page(limit=100, offset=0, q=typed)
    assert actor.user_id in [profile.id for profile in found]


async def test_search_also_goes_by_display_name(world: World) -> None:
    actor = await world.somebody()
    await world.users.update(actor, actor.user_id, display_name="Maximilian 100%_ sure")
    for typed in ("maximilian", "MAXIMILIAN 100%_"):
        found = await world.users.page(limit=10, offset=0, q=typed)
        assert actor.user_id in [profile.id for profile in found]


@pytest.mark.parametrize("typed", ["%", "_____", "\\", "some%", "som_body"])
async def test_search_knows_no_wildcards(world: World, typed: str) -> None:
    await world.somebody()
    assert await world.users.page(limit=10, offset=0, q=typed) == []


async def test_lists_go_by_name_and_page(world: World) -> None:
    for name in ("pagec", "pageA", "pageb"):
        await world.somebody(name)
    everybody = await world.users.page(limit=10, offset=0, q="page")
    assert [profile.username[:5] for profile in everybody] == ["pageA", "pageb", "pagec"]
    assert await world.users.page(limit=1, offset=1, q="page") == everybody[1:2]


async def test_only_oneself_is_changed(world: World) -> None:
    one, other = await world.somebody(), await world.somebody()
    with pytest.raises(Forbidden, match="you can only update your own profile"):
        await world.users.update(one, other.user_id, display_name="x")
    with pytest.raises(Forbidden):
        await world.users.delete(one, other.user_id)


async def test_what_is_left_out_stays(world: World) -> None:
    actor = await world.somebody()
    await world.users.update(actor, actor.user_id, display_name="Al")
    assert (await world.users.update(actor, actor.user_id)).display_name == "Al"
    assert (await world.users.update(actor, actor.user_id, display_name="")).display_name == ""
    with pytest.raises(ValidationFailed):
        await world.users.update(actor, actor.user_id, password="short")


async def test_a_new_password_ends_all_other_tokens(world: World) -> None:
    actor = await world.somebody()
    other_session = world.tokens.verify((await world.accounts.login(actor.username, PASSWORD)).token)
    await world.users.update(actor, actor.user_id, password="another password")
    world.revoking.check(actor)
    with pytest.raises(InvalidToken):
        world.revoking.check(other_session)
    with pytest.raises(InvalidCredentials):
        await world.accounts.login(actor.username, PASSWORD)
    again = await world.accounts.login(actor.username, "another password")
    world.revoking.check(world.tokens.verify(again.token))


async def test_being_here_is_noted(world: World) -> None:
    actor = await world.somebody()
    seen = await world.users.touch_last_seen(actor)
    assert (await world.users.get(actor.user_id)).last_seen == seen


# -- deletion ---------------------------------------------------------------------------------------------------------


async def test_a_deleted_user_is_gone_and_the_name_is_free(world: World) -> None:
    actor = await world.somebody()
    await world.users.delete(actor, actor.user_id)
    with pytest.raises(UserNotFound):
        await world.users.get(actor.user_id)
    with pytest.raises(InvalidToken):
        world.revoking.check(actor)
    for act in (world.accounts.me(actor), world.users.touch_last_seen(actor), world.accounts.refresh(actor)):
        with pytest.raises(InvalidToken):
            await act
    with pytest.raises(InvalidCredentials):
        await world.accounts.login(actor.username, PASSWORD)
    assert (await world.accounts.register(actor.username, PASSWORD)).user.id != actor.user_id


async def test_messages_of_a_deleted_user_stay(world: World) -> None:
    actor, friend = await world.somebody(), await world.somebody()
    chat_id = await world.group(friend, actor)
    sent = await world.messages.send(actor, chat_id, "I was here")
    await world.users.delete(actor, actor.user_id)
    read = await world.messages.get(friend, sent.message.id)
    assert read.content == "I was here"
    assert read.sender is not None
    assert read.sender.username == "deleted user"


async def test_memberships_end_and_the_others_are_told(world: World) -> None:
    actor, friend = await world.somebody(), await world.somebody()
    group, direct = await world.group(friend, actor), await world.direct(actor, friend)
    world.bus.forget()
    await world.users.delete(actor, actor.user_id)
    for chat_id in (group, direct):
        detail = await world.chats.get(friend, chat_id)
        assert [member.user_id for member in detail.members] == [friend.user_id]
        assert detail.last_seq == 1
        told = world.bus.in_chat(chat_id)
        assert [event["type"] for event in told] == ["system", "member_removed"]
        assert told[0]["payload"]["message"] == f"{actor.username} left the chat"


async def test_a_group_passes_to_the_longest_standing_admin(world: World) -> None:
    creator, first, second = [await world.somebody() for _ in range(3)]
    chat_id = await world.group(creator, first, second)
    await world.members.set_admin(creator, chat_id, second.user_id, is_admin=True)
    await world.users.delete(creator, creator.user_id)
    detail = await world.chats.get(first, chat_id)
    assert detail.creator_id == second.user_id


async def test_a_group_without_another_admin_gets_its_longest_standing_member(world: World) -> None:
    creator, first, second = [await world.somebody() for _ in range(3)]
    chat_id = await world.group(creator, first, second)
    world.bus.forget()
    await world.users.delete(creator, creator.user_id)
    detail = await world.chats.get(first, chat_id)
    assert detail.creator_id == first.user_id
    assert {member.user_id: member.is_admin for member in detail.members} == {
        first.user_id: True,
        second.user_id: False,
    }
    granted = [event["payload"] for event in world.bus.in_chat(chat_id) if event["type"] == "chat_updated"]
    assert granted == [
        {
            "chat_id": chat_id,
            "seq": 2,
            "updated_at": granted[0]["updated_at"],
            "user_id": first.user_id,
            "is_admin": True,
        }
    ]


async def test_a_group_that_its_creator_had_left_passes_on_too(world: World) -> None:
    creator, friend = await world.somebody(), await world.somebody()
    chat_id = await world.group(creator, friend)
    await world.members.remove(creator, chat_id, creator.user_id)
    await world.users.delete(creator, creator.user_id)
    assert (await world.chats.get(friend, chat_id)).creator_id == friend.user_id


async def test_a_chat_nobody_is_left_in_is_deleted(world: World) -> None:
    actor, friend = await world.somebody(), await world.somebody()
    alone, direct = await world.group(actor), await world.direct(actor, friend)
    await world.messages.send(actor, alone, "to myself")
    await world.users.delete(actor, actor.user_id)
    await world.users.delete(friend, friend.user_id)
    for chat_id in (alone, direct):
        assert await chat_statements.get(world.database, chat_id) is None
        assert {"type": "chat_deleted", "payload": {"chat_id": chat_id}} in world.bus.in_chat(chat_id)


async def test_nobody_can_be_added_while_being_deleted(world: World) -> None:
    """Whichever comes first: a deleted user is a member of nothing."""
    for _ in range(5):
        creator, actor = await world.somebody(), await world.somebody()
        chats: list[ChatId] = [await world.group(creator) for _ in range(4)]
        await asyncio.gather(
            *(world.members.add(creator, chat_id, [actor.user_id]) for chat_id in chats),
            world.users.delete(actor, actor.user_id),
            return_exceptions=True,
        )
        for chat_id in chats:
            detail = await world.chats.get(creator, chat_id)
            assert [member.user_id for member in detail.members] == [creator.user_id]
            assert detail.last_seq in (Seq(0), Seq(2))
