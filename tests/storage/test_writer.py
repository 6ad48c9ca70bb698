"""The writer against a real PostgreSQL, two of them over one database as two replicas have it."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import asyncpg
import pytest
from sqlalchemy import text

from chatapp.errors import ChatAppError, Invalid, NonceReused, NotAMember, Overloaded, Unavailable
from chatapp.protocol.ids import ChatId, UserId
from chatapp.storage.engine import Database, PoolSettings
from chatapp.storage.writer import Append, Appended, MessageWriter, WriterLimits
from tests.storage.backends import END_OTHER_CLIENTS
from tests.world import World

Stored = list[tuple[Append, Appended]]


class Two:
    """Two replicas' writers, and what each has committed."""

    def __init__(self, one: MessageWriter, two: MessageWriter, committed: tuple[Stored, Stored]) -> None:
        self.one, self.two = one, two
        self.committed = committed


@asynccontextmanager
async def writing(
    database: Database, limits: WriterLimits | None = None, committed: Stored | None = None
) -> AsyncIterator[MessageWriter]:
    writer = MessageWriter(database, (committed if committed is not None else []).extend, limits)
    writer.start()
    try:
        yield writer
    finally:
        await writer.close()


@asynccontextmanager
async def another_replica(database: Database, pool: PoolSettings | None = None) -> AsyncIterator[Database]:
    other = Database(database.engine.url, pool or PoolSettings(size=4))
    try:
        yield other
    finally:
        await other.close()


@pytest.fixture
async def two(world: World) -> AsyncIterator[Two]:
    committed: tuple[Stored, Stored] = ([], [])
    async with (
        another_replica(world.database) as other,
        writing(world.database, committed=committed[0]) as one,
        writing(other, committed=committed[1]) as second,
    ):
        yield Two(one, second, committed)


async def rows_of(world: World, chat_id: ChatId) -> list[tuple[int, str]]:
    """What is on disk, by position."""
    async with world.database.read() as connection:
        found = await connection.execute(
            text("SELECT seq, content FROM messages WHERE chat_id = :id ORDER BY seq"), {"id": chat_id}
        )
        return [(row.seq, row.content) for row in found]


async def last_seq(world: World, chat_id: ChatId) -> int:
    async with world.database.read() as connection:
        found: int = (
            await connection.execute(
                text("SELECT coalesce(max(last_seq), 0) FROM chats WHERE id = :id"), {"id": chat_id}
            )
        ).scalar_one()
    return found


async def meet_dead_connections(world: World) -> None:
    """The pool's other connections are dead too; the tests after this one should not meet them."""
    for _ in range(20):
        with contextlib.suppress(Unavailable):
            await last_seq(world, ChatId(1))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(8):
        while not condition():
            await asyncio.sleep(0.005)


# -- numbers ------------------------------------------------------------------------------------------------------


async def test_positions_have_no_gap_however_many_write_at_two_replicas(world: World, two: Two) -> None:
    people = [await world.somebody() for _ in range(3)]
    chats = [await world.group(*people) for _ in range(3)]

    async def send(writer: MessageWriter, who: UserId, chat_id: ChatId, name: str) -> None:
        for number in range(20):
            nonce = f"{name}-{number}" if number % 2 else None
            await writer.append(who, chat_id, f"{name} {number}", nonce)

    senders = [
        send(writer, person.user_id, chat_id, f"{label}{person.user_id}-{chat_id}")
        for label, writer in (("a", two.one), ("b", two.two))
        for person in people
        for chat_id in chats
    ]
    await asyncio.gather(*senders)
    for chat_id in chats:
        rows = await rows_of(world, chat_id)
        assert [seq for seq, _ in rows] == list(range(1, 121))
        assert await last_seq(world, chat_id) == 120
        for name in {content.split(" ")[0] for _, content in rows}:
            mine = [content for _, content in rows if content.split(" ")[0] == name]
            assert mine == [f"{name} {number}" for number in range(20)]
    told = [(append.chat_id, appended.seq) for side in two.committed for append, appended in side]
    assert sorted(told) == sorted((chat_id, seq) for chat_id in chats for seq in range(1, 121))


async def test_the_order_of_handing_over_is_the_order_of_positions(world: World, two: Two) -> None:
    ada = await world.somebody()
    chat_id = await world.group(ada)
    futures = [two.one.append(ada.user_id, chat_id, str(number), None) for number in range(700)]
    answers = await asyncio.gather(*futures)
    assert [answer.seq for answer in answers] == list(range(1, 701))
    assert two.one.stats.groups < 20
    assert [appended.seq for _, appended in two.committed[0]] == list(range(1, 701))


async def test_what_is_answered_is_on_disk_and_was_told_before(world: World, two: Two) -> None:
    ada = await world.somebody("ada")
    chat_id = await world.group(ada)
    appended = await two.one.append(ada.user_id, chat_id, "hi", None)
    assert appended.username == ada.username
    assert not appended.repeated
    assert two.committed[0][0][1] == appended
    message = await world.messages.get(ada, appended.message_id)
    assert (message.seq, message.content, message.created_at) == (1, "hi", appended.created_at)


async def test_who_is_not_a_member_is_refused_and_takes_no_position(world: World, two: Two) -> None:
    ada, eve = await world.somebody(), await world.somebody()
    chat_id = await world.group(ada)
    answers = await asyncio.gather(
        two.one.append(ada.user_id, chat_id, "1", None),
        two.one.append(eve.user_id, chat_id, "no", None),
        two.one.append(ada.user_id, ChatId(10**15), "no", None),
        two.one.append(ada.user_id, chat_id, "2", None),
        return_exceptions=True,
    )
    assert [type(a) for a in answers] == [Appended, NotAMember, NotAMember, Appended]
    assert await rows_of(world, chat_id) == [(1, "1"), (2, "2")]


# -- nonces -------------------------------------------------------------------------------------------------------


async def test_a_nonce_stands_for_one_message_of_one_sender(world: World, two: Two) -> None:
    ada, bob = await world.somebody(), await world.somebody()
    chat_id, other = await world.group(ada, bob), await world.group(ada)
    first = await two.one.append(ada.user_id, chat_id, "x", "n")
    again = await two.two.append(ada.user_id, chat_id, "x", "n")
    assert again.repeated
    assert (again.message_id, again.seq, again.created_at) == (first.message_id, first.seq, first.created_at)
    for content, chat in (("y", chat_id), ("x", other)):
        with pytest.raises(NonceReused):
            await two.one.append(ada.user_id, chat, content, "n")
    assert not (await two.one.append(bob.user_id, chat_id, "x", "n")).repeated
    assert await last_seq(world, chat_id) == 2
    assert len(two.committed[1]) == 0


async def test_a_nonce_handed_over_many_times_at_once_is_one_message(world: World, two: Two) -> None:
    ada = await world.somebody()
    chat_id = await world.group(ada)
    answers = await asyncio.gather(
        *(writer.append(ada.user_id, chat_id, "x", "n") for writer in (two.one, two.two) for _ in range(20))
    )
    assert len({answer.message_id for answer in answers}) == 1
    assert sum(not answer.repeated for answer in answers) == 1
    assert await rows_of(world, chat_id) == [(1, "x")]


async def test_a_nonce_survives_an_edit_and_a_deletion(world: World, two: Two) -> None:
    ada = await world.somebody()
    chat_id = await world.group(ada)
    first = await two.one.append(ada.user_id, chat_id, "x", "n")
    await world.messages.edit(ada, first.message_id, "y")
    assert (await two.one.append(ada.user_id, chat_id, "x", "n")).message_id == first.message_id
    await world.messages.delete(ada, first.message_id)
    assert (await two.one.append(ada.user_id, chat_id, "x", "n")).message_id == first.message_id


async def test_nonces_crossed_over_chats_at_two_replicas_end_in_one_message_each(world: World, two: Two) -> None:
    ada = await world.somebody()
    chats = [await world.group(ada) for _ in range(2)]
    for turn in range(10):
        answers = await asyncio.gather(
            *(
                writer.append(ada.user_id, chat, "x", f"n{turn}-{nonce}")
                for writer, order in ((two.one, (0, 1)), (two.two, (1, 0)))
                for nonce, chat in zip(order, chats, strict=True)
            ),
            return_exceptions=True,
        )
        assert all(isinstance(answer, Appended | NonceReused) for answer in answers), answers
    total = 0
    for chat_id in chats:
        rows = await rows_of(world, chat_id)
        assert [seq for seq, _ in rows] == list(range(1, len(rows) + 1))
        total += len(rows)
    assert total == 20


# -- what goes wrong ----------------------------------------------------------------------------------------------


async def test_a_chat_that_somebody_has_locked_holds_up_no_other(world: World, two: Two) -> None:
    ada = await world.somebody()
    locked, free = await world.group(ada), await world.group(ada)
    async with world.database.begin() as connection:
        await connection.execute(text("SELECT 1 FROM chats WHERE id = :id FOR UPDATE"), {"id": locked})
        waiting = [two.one.append(ada.user_id, locked, str(number), None) for number in range(3)]
        for number in range(20):
            async with asyncio.timeout(1.5):
                await two.one.append(ada.user_id, free, str(number), None)
        waiting += [two.one.append(ada.user_id, locked, str(number), None) for number in range(3, 6)]
        assert not any(future.done() for future in waiting)
    assert [appended.seq for appended in await asyncio.gather(*waiting)] == [1, 2, 3, 4, 5, 6]
    assert await rows_of(world, locked) == [(n + 1, str(n)) for n in range(6)]
    assert two.one.stats.contended >= 1
    await until(lambda: not two.one._held)


async def test_a_chat_that_stays_locked_is_told_as_unavailable(world: World) -> None:
    ada = await world.somebody()
    chat_id = await world.group(ada)
    async with (
        another_replica(world.database, PoolSettings(size=3, lock_timeout_ms=100)) as other,
        writing(other) as writer,
        world.database.begin() as connection,
    ):
        await connection.execute(text("SELECT 1 FROM chats WHERE id = :id FOR UPDATE"), {"id": chat_id})
        with pytest.raises(Unavailable):
            await writer.append(ada.user_id, chat_id, "x", None)
        with pytest.raises(Unavailable):
            await writer.append(ada.user_id, chat_id, "x", "n")
    assert await rows_of(world, chat_id) == []


@pytest.mark.parametrize("poison", ["a\0b", "\ud800"], ids=["nul", "surrogate"])
async def test_what_cannot_be_stored_fails_alone(world: World, two: Two, poison: str) -> None:
    ada = await world.somebody()
    chat_id = await world.group(ada)
    answers = await asyncio.gather(
        *(two.one.append(ada.user_id, chat_id, content, None) for content in ("1", "2", poison, "3", "4")),
        return_exceptions=True,
    )
    assert isinstance(answers[2], Invalid)
    assert await rows_of(world, chat_id) == [(1, "1"), (2, "2"), (3, "3"), (4, "4")]
    assert two.one.waiting == 0


async def test_ids_beyond_64_bits_fail_alone(world: World, two: Two) -> None:
    ada = await world.somebody()
    chat_id = await world.group(ada)
    answers = await asyncio.gather(
        two.one.append(ada.user_id, ChatId(2**63), "no", None),
        two.one.append(ada.user_id, chat_id, "yes", None),
        return_exceptions=True,
    )
    assert isinstance(answers[0], ChatAppError)
    assert isinstance(answers[1], Appended)


async def test_a_terminated_backend_loses_and_doubles_nothing_that_has_a_nonce(world: World, two: Two) -> None:
    ada = await world.somebody()
    chat_id = await world.group(ada)
    url = world.database.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    killer = await asyncpg.connect(url)
    stored = 0

    async def send(number: int) -> None:
        nonlocal stored
        for _ in range(20):
            try:
                await two.one.append(ada.user_id, chat_id, str(number), f"n{number}")
            except Unavailable:
                await asyncio.sleep(0.01)
            else:
                stored += 1
                return
        raise AssertionError("never stored")

    try:
        sending = asyncio.gather(*(send(number) for number in range(300)))
        for _ in range(5):
            await killer.execute(f"{END_OTHER_CLIENTS} AND query LIKE '%append_messages%'")
            await asyncio.sleep(0.005)
        await asyncio.wait_for(sending, 20)
    finally:
        await killer.close()
        await meet_dead_connections(world)
    rows = await rows_of(world, chat_id)
    assert [seq for seq, _ in rows] == list(range(1, 301))
    assert {content for _, content in rows} == {str(number) for number in range(300)}


async def test_connections_that_were_ended_while_idle_are_replaced_one_by_one(world: World, two: Two) -> None:
    ada = await world.somebody()
    chat_id = await world.group(ada)
    await two.one.append(ada.user_id, chat_id, "x", None)
    async with world.database.read() as connection:
        await connection.execute(text(END_OTHER_CLIENTS))
    # Each of the pool's eight may fail once, and an append that meets two of them is refused.
    stored = attempts = 0
    while stored < 12:
        attempts += 1
        with contextlib.suppress(Unavailable):
            await two.one.append(ada.user_id, chat_id, "x", f"n{stored}")
            stored += 1
    assert attempts <= 12 + 4
    await meet_dead_connections(world)
    assert await last_seq(world, chat_id) == 13


async def test_while_the_database_is_away_sends_are_refused_and_work_again_after(world: World) -> None:
    ada = await world.somebody()
    chat_id = await world.group(ada)
    nowhere = Database(world.database.engine.url.set(host="127.0.0.1", port=1), PoolSettings(size=1), {"timeout": 0.5})
    try:
        async with writing(nowhere) as writer:
            for nonce in (None, "n"):
                with pytest.raises(Unavailable):
                    await writer.append(ada.user_id, chat_id, "x", nonce)
            assert writer.waiting == 0
    finally:
        await nowhere.close()


# -- bounds -------------------------------------------------------------------------------------------------------


async def test_past_the_bounds_a_message_is_refused_at_once(world: World) -> None:
    ada = await world.somebody()
    chat_id = await world.group(ada)
    writer = MessageWriter(world.database, lambda stored: None, WriterLimits(waiting=3, waiting_bytes=10_000))
    waiting = [writer.append(ada.user_id, chat_id, "x", None) for _ in range(3)]
    with pytest.raises(Overloaded):
        writer.append(ada.user_id, chat_id, "x", None)
    writer.start()
    await asyncio.gather(*waiting)
    large = writer.append(ada.user_id, chat_id, "x" * 10_000, None)
    with pytest.raises(Overloaded):
        writer.append(ada.user_id, chat_id, "x", None)
    await large
    await writer.append(ada.user_id, chat_id, "x", None)
    assert writer.stats.refused == 2
    await writer.close()


async def test_who_gives_up_waiting_leaves_no_place_taken(world: World) -> None:
    ada, eve = await world.somebody(), await world.somebody()
    chat_id = await world.group(ada)
    async with writing(world.database, WriterLimits(waiting=2)) as writer:
        for _ in range(4):
            for who in (ada, eve):  # one is stored although nobody waits, the other is refused
                writer.append(who.user_id, chat_id, "x", None).cancel()
            await until(lambda: writer.waiting == 0)
        assert (await writer.append(ada.user_id, chat_id, "x", None)).seq == 5


async def test_closing_stores_what_waits_and_takes_nothing_more(world: World) -> None:
    ada = await world.somebody()
    chat_id = await world.group(ada)
    async with writing(world.database) as writer:
        waiting = [writer.append(ada.user_id, chat_id, str(number), None) for number in range(1500)]
        closing = asyncio.ensure_future(writer.close())
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            writer.append(ada.user_id, chat_id, "too late", None)
        await closing
        assert [future.result().seq for future in waiting] == list(range(1, 1501))


async def test_closing_does_not_wait_for_ever(world: World) -> None:
    ada = await world.somebody()
    chat_id = await world.group(ada)
    async with writing(world.database) as writer:
        async with world.database.begin() as connection:
            await connection.execute(text("SELECT 1 FROM chats WHERE id = :id FOR UPDATE"), {"id": chat_id})
            waiting = [writer.append(ada.user_id, chat_id, "x", secrets.token_hex(4)) for _ in range(3)]
            await until(lambda: bool(writer._held))
            await writer.close(timeout_s=0.1)
        for future in waiting:
            assert isinstance(future.exception(), Unavailable)
        assert writer.waiting == 0
