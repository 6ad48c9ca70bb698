"""Messages divided by the hash of their chat: the SQL of the decision page, and our statements on what it makes."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import make_url, text

from chatapp.storage.engine import Database, PoolSettings, driver_of
from tests.servers import Databases
from tests.storage.test_messages import *  # noqa: F403 (all of them, on the divided table)
from tests.storage.test_writer import (  # noqa: F401
    Two,
    test_a_chat_that_somebody_has_locked_holds_up_no_other,
    test_a_nonce_handed_over_many_times_at_once_is_one_message,
    test_a_nonce_survives_an_edit_and_a_deletion,
    test_a_terminated_backend_loses_and_doubles_nothing_that_has_a_nonce,
    test_positions_have_no_gap_however_many_write_at_two_replicas,
    test_what_cannot_be_stored_fails_alone,
    test_what_is_answered_is_on_disk_and_was_told_before,
    test_who_is_not_a_member_is_refused_and_takes_no_position,
    two,
)
from tests.world import World, opened_world

PAGE = Path(__file__).resolve().parents[2] / "docs" / "decisions" / "0007-one-table-of-messages.md"


def page_sql() -> str:
    found = re.findall(r"```sql\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(found) == 1
    return str(found[0])


async def divide(url: str) -> None:
    database = Database(make_url(url).set(drivername="postgresql+asyncpg"), PoolSettings(size=1))
    try:
        async with database.read() as connection:
            await (await driver_of(connection)).execute(page_sql())
    finally:
        await database.close()


@pytest.fixture(scope="module")
async def world(databases: Databases) -> AsyncIterator[World]:
    url = databases.create("divided")
    async with opened_world(url) as whole:
        ada = await whole.somebody()
        chat_id = await whole.group(ada)
        for number in range(20):
            await whole.messages.send(ada, chat_id, str(number), f"n{number}")
    await divide(url)
    async with opened_world(url) as world:
        # What was there before is there, in its order, and a retry of it is known.
        page = await world.messages.history(ada, chat_id, limit=50, offset=0, before=None, after=None)
        assert [message.content for message in page] == [str(number) for number in reversed(range(20))]
        assert (await world.messages.send(ada, chat_id, "3", "n3")).repeated
        assert (await world.messages.send(ada, chat_id, "more")).message.seq == 21
        yield world


async def test_a_nonce_stands_for_a_message_of_one_chat(world: World) -> None:
    ada = await world.somebody()
    one, other = await world.group(ada), await world.group(ada)
    first = await world.messages.send(ada, one, "x", "n")
    assert (await world.messages.send(ada, one, "x", "n")).message.id == first.message.id
    assert not (await world.messages.send(ada, other, "x", "n")).repeated


async def test_a_page_is_read_from_one_partition(world: World) -> None:
    ada = await world.somebody()
    chat_id = await world.group(ada)
    await world.messages.send(ada, chat_id, "x")
    async with world.database.read() as connection:
        await connection.execute(text("ANALYZE"))
        lines = (
            await connection.execute(
                text(
                    "EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off) "
                    "SELECT m.* FROM chat_members c JOIN LATERAL (SELECT * FROM messages WHERE chat_id = c.chat_id "
                    f"ORDER BY seq DESC LIMIT 50) m ON true WHERE c.user_id = {ada.user_id} AND c.chat_id = {chat_id}"
                )
            )
        ).scalars()
        read = [line for line in lines if " on messages_" in line and "never executed" not in line]
    assert len(read) == 1, read


async def test_a_chat_is_deleted_with_its_messages(world: World) -> None:
    ada = await world.somebody()
    chat_id = await world.group(ada)
    await world.messages.send(ada, chat_id, "x")
    await world.chats.delete(ada, chat_id)
    async with world.database.read() as connection:
        left = (await connection.execute(text(f"SELECT count(*) FROM messages WHERE chat_id = {chat_id}"))).scalar()
    assert left == 0
