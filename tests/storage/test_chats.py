from __future__ import annotations

import pytest
from sqlalchemy import event

from chatapp.protocol.ids import ChatId, Seq
from chatapp.storage import chats, members
from tests.world import World


class Statements:
    """Counts what goes to the database while it is entered."""

    def __init__(self, world: World) -> None:
        self._engine = world.database.engine.sync_engine
        self.seen: list[str] = []

    def __enter__(self) -> Statements:
        event.listen(self._engine, "before_cursor_execute", self._note)
        return self

    def __exit__(self, *_: object) -> None:
        event.remove(self._engine, "before_cursor_execute", self._note)

    def _note(self, connection: object, cursor: object, statement: str, *_: object) -> None:
        self.seen.append(statement)


async def test_a_page_of_chats_is_one_statement(world: World) -> None:
    one, two = await world.somebody(), await world.somebody()
    for _ in range(5):
        await world.group(one, two)
    with Statements(world) as statements:
        page = await chats.page(world.database, one.user_id, limit=50, offset=0)
    assert [len(chat.members) for chat in page] == [2] * 5
    assert len(statements.seen) == 1


async def test_at_most_a_hundred_members_are_shown(world: World) -> None:
    one = await world.somebody()
    chat_id = await world.group(one)
    async with world.database.begin() as connection:
        await connection.exec_driver_sql(
            "WITH crowd AS (INSERT INTO users (username, username_key, password) "
            "SELECT 'crowd', 'crowd' || random(), '' FROM generate_series(1, 120) RETURNING id) "
            "INSERT INTO chat_members (user_id, chat_id) SELECT id, $1 FROM crowd",
            (chat_id,),
        )
    detail = await chats.detail(world.database, one.user_id, chat_id)
    assert detail is not None
    assert (len(detail.members), detail.member_count) == (100, 121)
    assert detail.members[0].user_id == one.user_id
    assert detail.members[0].joined_at == detail.created_at


async def test_unread_messages_are_counted_up_to_a_thousand(world: World) -> None:
    one, two = await world.somebody(), await world.somebody()
    chat_id = await world.group(one, two)
    async with world.database.begin() as connection:
        await connection.exec_driver_sql(
            "INSERT INTO messages (chat_id, seq, sender_id, kind, content) "
            "SELECT $1, n, $2, 'text', 'x' FROM generate_series(1, 1100) n",
            (chat_id, two.user_id),
        )
    detail = await chats.detail(world.database, one.user_id, chat_id)
    assert detail is not None
    assert detail.unread_count == 1000


async def test_positions_are_asked_for_many_at_once(world: World) -> None:
    one, two, three = [await world.somebody() for _ in range(3)]
    first, second = await world.group(one, two), await world.group(one)
    await world.messages.send(one, first, "hello")
    assert await chats.last_seqs(world.database, [first, second, ChatId(2**62)]) == {first: 1, second: 0}
    with Statements(world) as statements:
        found = await members.positions_of(world.database, [one.user_id, two.user_id, three.user_id])
    assert len(statements.seen) == 1
    assert {
        user: [(p.chat_id, p.last_seq, p.last_read_seq) for p in positions] for user, positions in found.items()
    } == {
        one.user_id: [(first, 1, 0), (second, 0, 0)],
        two.user_id: [(first, 1, 0)],
        three.user_id: [],
    }
    mine = await members.membership(world.database, two.user_id, [first, second])
    assert list(mine) == [first]


async def test_who_joined_since_is_found_with_the_position(world: World) -> None:
    one, two = await world.somebody(), await world.somebody()
    chat_id = await world.group(one)
    await world.messages.send(one, chat_id, "hello")
    await world.members.add(one, chat_id, [two.user_id])
    async with world.database.read() as connection:
        joined_at = (
            await connection.exec_driver_sql("SELECT joined_at FROM chat_members WHERE user_id = $1", (two.user_id,))
        ).scalar_one()
    both = [one.user_id, two.user_id]
    assert await members.joined_since(world.database, both, joined_at) == [
        members.Joining(two.user_id, chat_id, Seq(2), joined_at)
    ]


@pytest.mark.parametrize("is_group", [True, False])
async def test_a_chat_is_read_whoever_asks(world: World, is_group: bool) -> None:
    one, two = await world.somebody(), await world.somebody()
    chat_id = await (world.group(one, two) if is_group else world.direct(one, two))
    chat = await chats.get(world.database, chat_id)
    assert chat is not None
    assert (chat.is_group, chat.creator_id) == (is_group, one.user_id)
