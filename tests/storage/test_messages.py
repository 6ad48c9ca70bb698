from __future__ import annotations

import pytest

from chatapp.auth.principal import Principal
from chatapp.errors import Forbidden, MessageNotFound, NotAMember
from chatapp.protocol.ids import ChatId, MessageId, Seq, UserId
from chatapp.protocol.views import Message
from chatapp.storage import messages
from chatapp.storage.engine import Database
from chatapp.storage.rows import Action, MessageRow
from tests.world import World


async def delete(database: Database, message_id: MessageId, user_id: UserId) -> MessageRow:
    async with database.begin() as connection:
        return await messages.delete(connection, message_id, user_id)


class Chat:
    """A chat of two with ten messages, ``m1`` to ``m10``."""

    def __init__(self, world: World, ada: Principal, bob: Principal, chat_id: ChatId, ids: list[MessageId]) -> None:
        self.world = world
        self.ada, self.bob = ada, bob
        self.chat_id = chat_id
        self.ids = ids

    async def page(
        self, *, limit: int = 50, offset: int = 0, before: int | None = None, after: int | None = None
    ) -> list[int]:
        found = await messages.history(
            self.world.database,
            self.chat_id,
            self.bob.user_id,
            limit=limit,
            offset=offset,
            before=None if before is None else Seq(before),
            after=None if after is None else Seq(after),
        )
        assert found is not None
        return [message.seq for message in found]

    async def between(self, *, start: int, after: int, upto: int, limit: int = 100) -> list[tuple[int, bool, str]]:
        """Position, whether it is a change, and the content then."""
        rows = await messages.between(
            self.world.database, self.chat_id, start=Seq(start), after=Seq(after), upto=Seq(upto), limit=limit
        )
        return [(row.changed_seq if is_change else row.seq, is_change, row.content) for row, is_change in rows]  # type: ignore[misc]

    async def edit(self, number: int, content: str) -> int:
        row = await messages.edit(self.world.database, self.ids[number - 1], self.ada.user_id, content)
        assert row.changed_seq is not None
        return row.changed_seq

    async def delete(self, number: int) -> int:
        row = await delete(self.world.database, self.ids[number - 1], self.ada.user_id)
        assert row.changed_seq is not None
        return row.changed_seq


@pytest.fixture
async def chat(world: World) -> Chat:
    ada, bob = await world.somebody("ada"), await world.somebody("bob")
    chat_id = await world.group(ada, bob)
    ids = [(await world.messages.send(ada, chat_id, f"m{number}")).message.id for number in range(1, 11)]
    return Chat(world, ada, bob, chat_id, ids)


# -- pages --------------------------------------------------------------------------------------------------------


async def test_a_page_is_newest_first(chat: Chat) -> None:
    assert await chat.page() == [10, 9, 8, 7, 6, 5, 4, 3, 2, 1]
    assert await chat.page(limit=3) == [10, 9, 8]
    assert await chat.page(limit=3, offset=3) == [7, 6, 5]
    assert await chat.page(limit=3, offset=9) == [1]
    assert await chat.page(offset=10) == []


async def test_before_pages_backwards_and_after_forwards(chat: Chat) -> None:
    assert await chat.page(before=8, limit=3) == [7, 6, 5]
    assert await chat.page(after=7, limit=2) == [8, 9]
    assert await chat.page(after=2, before=6) == [3, 4, 5]
    assert await chat.page(after=2, before=6, offset=1) == [4, 5]
    assert await chat.page(before=1) == []
    assert await chat.page(after=10) == []
    assert await chat.page(after=2**63 - 1) == []
    assert len(await chat.page(before=2**63 - 1)) == 10


async def test_pages_show_the_sender_and_the_newest_state_and_leave_out_the_deleted(chat: Chat) -> None:
    await chat.edit(2, "edited")
    await chat.delete(3)
    found = await messages.history(chat.world.database, chat.chat_id, chat.bob.user_id, limit=10)
    assert found is not None
    by_seq: dict[int, Message] = {message.seq: message for message in found}
    assert 3 not in by_seq
    assert (by_seq[2].content, by_seq[2].is_edited) == ("edited", True)
    assert (by_seq[1].content, by_seq[1].is_edited) == ("m1", False)
    sender = by_seq[1].sender
    assert sender is not None
    assert (sender.id, sender.username) == (chat.ada.user_id, chat.ada.username)


async def test_a_page_is_for_members(chat: Chat) -> None:
    eve = await chat.world.somebody("eve")
    assert await messages.history(chat.world.database, chat.chat_id, eve.user_id, limit=10) is None
    assert await messages.history(chat.world.database, ChatId(10**15), eve.user_id, limit=10) is None
    empty = await chat.world.group(eve)
    assert await messages.history(chat.world.database, empty, eve.user_id, limit=10) == []


# -- what was missed ----------------------------------------------------------------------------------------------


async def test_what_was_missed_comes_ascending_within_its_bounds(chat: Chat) -> None:
    found = await chat.between(start=3, after=3, upto=6)
    assert found == [(4, False, "m4"), (5, False, "m5"), (6, False, "m6")]
    assert await chat.between(start=10, after=10, upto=10) == []


async def test_a_message_sent_since_comes_once_in_its_newest_state(chat: Chat) -> None:
    assert await chat.edit(9, "edited") == 11
    assert await chat.between(start=8, after=8, upto=11) == [(9, False, "edited"), (10, False, "m10")]


async def test_an_older_message_that_changed_comes_at_its_newest_change(chat: Chat) -> None:
    assert await chat.edit(2, "once") == 11
    assert await chat.edit(2, "twice") == 12
    assert await chat.between(start=9, after=9, upto=12) == [(10, False, "m10"), (12, True, "twice")]
    # The second change is beyond the bound, so the first, which it replaced, has no row any more.
    assert await chat.between(start=10, after=10, upto=11) == []


async def test_a_deleted_message_comes_as_its_deletion_whenever_it_was_sent(chat: Chat) -> None:
    await chat.delete(2)
    await chat.delete(9)
    assert await chat.between(start=8, after=8, upto=12) == [(10, False, "m10"), (11, True, ""), (12, True, "")]


async def test_what_was_missed_can_be_read_in_pieces(chat: Chat) -> None:
    await chat.edit(1, "A")
    await chat.edit(10, "J")
    await chat.delete(5)
    await chat.edit(2, "B")
    whole = await chat.between(start=3, after=3, upto=14)
    for size in (1, 2, 3, 5):
        pieces: list[tuple[int, bool, str]] = []
        after = 3
        while piece := await chat.between(start=3, after=after, upto=14, limit=size):
            pieces += piece
            after = piece[-1][0]
        assert pieces == whole


async def test_state_and_what_was_missed_make_the_state_read_again(chat: Chat) -> None:
    async def state() -> dict[int, str]:
        page = await messages.history(chat.world.database, chat.chat_id, chat.bob.user_id, limit=100)
        assert page is not None
        return {message.seq: message.content for message in page}

    before = await state()
    await chat.edit(1, "A")
    await chat.delete(2)
    await chat.world.messages.send(chat.bob, chat.chat_id, "new")
    await chat.edit(1, "AA")
    await chat.delete(10)
    rows = await messages.between(
        chat.world.database, chat.chat_id, start=Seq(10), after=Seq(10), upto=Seq(15), limit=100
    )
    for row, _ in rows:
        if row.deleted:
            before.pop(row.seq, None)
        else:
            before[row.seq] = row.content
    assert before == await state()


async def test_system_rows_are_among_what_was_missed(chat: Chat) -> None:
    cyd = await chat.world.somebody("cyd")
    await chat.world.members.add(chat.ada, chat.chat_id, [cyd.user_id])
    ((row, is_change),) = await messages.between(
        chat.world.database, chat.chat_id, start=Seq(10), after=Seq(10), upto=Seq(11), limit=10
    )
    assert not is_change
    assert (row.kind, row.action, row.subject_id, row.detail) == (
        "system",
        Action.MEMBER_ADDED,
        cyd.user_id,
        cyd.username,
    )


# -- changes ------------------------------------------------------------------------------------------------------


async def test_an_edit_takes_the_next_position_and_keeps_the_first_one(chat: Chat) -> None:
    row = await messages.edit(chat.world.database, chat.ids[0], chat.ada.user_id, "new")
    assert (row.seq, row.changed_seq, row.content, row.is_edited, row.deleted) == (1, 11, "new", True, False)
    assert row.updated_at > row.created_at
    message = await messages.get(chat.world.database, chat.ids[0])
    assert message is not None
    assert (message.content, message.is_edited) == ("new", True)


async def test_a_deletion_erases_the_content_and_keeps_the_place(chat: Chat) -> None:
    row = await delete(chat.world.database, chat.ids[0], chat.ada.user_id)
    assert (row.seq, row.changed_seq, row.content, row.deleted) == (1, 11, "", True)
    assert await messages.get(chat.world.database, chat.ids[0]) is None
    kept = await messages.get(chat.world.database, chat.ids[0], include_deleted=True)
    assert kept is not None
    assert kept.content == ""
    with pytest.raises(MessageNotFound):
        await chat.delete(1)
    with pytest.raises(MessageNotFound):
        await chat.edit(1, "x")


async def test_a_refused_change_takes_no_position(chat: Chat) -> None:
    with pytest.raises(Forbidden):
        await messages.edit(chat.world.database, chat.ids[0], chat.bob.user_id, "x")
    with pytest.raises(Forbidden):
        await delete(chat.world.database, chat.ids[0], chat.bob.user_id)
    await chat.world.members.remove(chat.ada, chat.chat_id, chat.bob.user_id)
    with pytest.raises(MessageNotFound):
        await messages.edit(chat.world.database, MessageId(10**15), chat.ada.user_id, "x")
    assert await chat.edit(1, "new") == 12


async def test_who_has_left_changes_nothing_any_more(chat: Chat) -> None:
    sent = await chat.world.messages.send(chat.bob, chat.chat_id, "mine")
    await chat.world.members.remove(chat.bob, chat.chat_id, chat.bob.user_id)
    with pytest.raises(NotAMember):
        await messages.edit(chat.world.database, sent.message.id, chat.bob.user_id, "x")
    with pytest.raises(NotAMember):
        await delete(chat.world.database, sent.message.id, chat.bob.user_id)


async def test_an_admin_deletes_in_a_group_but_not_in_a_direct_chat(chat: Chat) -> None:
    sent = await chat.world.messages.send(chat.bob, chat.chat_id, "mine")
    row = await delete(chat.world.database, sent.message.id, chat.ada.user_id)
    assert row.deleted
    direct = await chat.world.direct(chat.ada, chat.bob)
    sent = await chat.world.messages.send(chat.bob, direct, "mine")
    with pytest.raises(Forbidden):
        await delete(chat.world.database, sent.message.id, chat.ada.user_id)


async def test_system_rows_cannot_be_changed(chat: Chat) -> None:
    await chat.world.chats.rename(chat.ada, chat.chat_id, "new")
    page = await messages.history(chat.world.database, chat.chat_id, chat.ada.user_id, limit=1)
    assert page is not None
    assert page[0].kind == "system"
    with pytest.raises(MessageNotFound):
        await messages.edit(chat.world.database, page[0].id, chat.ada.user_id, "x")
    with pytest.raises(MessageNotFound):
        await delete(chat.world.database, page[0].id, chat.ada.user_id)


async def test_one_message_is_for_members(chat: Chat) -> None:
    eve = await chat.world.somebody("eve")
    message, is_member = await messages.get_for(chat.world.database, chat.ids[0], chat.bob.user_id)
    assert message is not None
    assert is_member
    assert await messages.get_for(chat.world.database, MessageId(10**15), eve.user_id) == (None, False)
    assert (await messages.get_for(chat.world.database, chat.ids[0], eve.user_id))[1] is False
