"""Statements on chats. Whoever takes a position in one locks it first; see ``tables`` on the order of locks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from chatapp.protocol.ids import ChatId, Seq, UserId
from chatapp.protocol.views import Chat, ChatDetail, Member
from chatapp.storage.engine import CLIENT_MARGIN_S, Database, driver_of

SHOWN_MEMBERS = 100
"""How many members a ``ChatDetail`` lists at most."""
COUNTED_UNREAD = 1000
"""How far unread messages are counted."""

_CHAT = "id, name, is_group, creator_id, created_at, updated_at, last_seq"

_GET = text(f"SELECT {_CHAT} FROM chats WHERE id = :id")  # noqa: S608
_LAST_SEQS = text("SELECT id, last_seq FROM chats WHERE id = ANY (CAST(:ids AS bigint[]))")
_LOCK = text(
    f"SELECT {_CHAT} FROM chats WHERE id = ANY (CAST(:ids AS bigint[])) ORDER BY id FOR NO KEY UPDATE"  # noqa: S608
)
_INSERT_GROUP = text(
    f"INSERT INTO chats (name, is_group, creator_id) VALUES (:name, true, :creator_id) RETURNING {_CHAT}"  # noqa: S608
)
# Of two that do it at the same moment, one waits for the other here and then gets no row.
_INSERT_DIRECT = text(
    f"""
    INSERT INTO chats (name, is_group, creator_id, direct_key) VALUES (:name, false, :creator_id, :direct_key)
    ON CONFLICT (direct_key) DO NOTHING RETURNING {_CHAT}
    """  # noqa: S608
)
_DIRECT = text(f"SELECT {_CHAT} FROM chats WHERE direct_key = :direct_key")  # noqa: S608
_RENAME = text("UPDATE chats SET name = :name WHERE id = :id")
_DELETE = "DELETE FROM chats WHERE id = ANY ($1::bigint[])"
_DELETE_TIMEOUT_S = 60
_INHERIT = text(
    """
    UPDATE chats SET creator_id = (
        SELECT user_id FROM chat_members WHERE chat_id = chats.id ORDER BY is_admin DESC, joined_at, user_id LIMIT 1
    )
    WHERE id = ANY (CAST(:ids AS bigint[])) AND creator_id = :creator_id
    """
)
_CONCERNING = text(
    "SELECT chat_id AS id FROM chat_members WHERE user_id = :user_id "
    "UNION SELECT id FROM chats WHERE creator_id = :user_id"
)


def _details(condition: str) -> Any:
    # The page is chosen first; what is counted and gathered for each chat is so for its rows alone.
    return text(
        f"""
        WITH page AS MATERIALIZED (
            SELECT c.*, m.last_read_seq FROM chat_members m JOIN chats c ON c.id = m.chat_id
            WHERE m.user_id = :user_id {condition}
            ORDER BY c.updated_at DESC, c.id DESC LIMIT :limit OFFSET :offset
        )
        SELECT {_CHAT}, last_read_seq,
            (SELECT count(*) FROM chat_members m WHERE m.chat_id = page.id) AS member_count,
            (SELECT count(*) FROM (
                SELECT 1 FROM messages t
                WHERE t.chat_id = page.id AND t.seq > page.last_read_seq AND t.kind = 'text'
                    AND t.deleted_at IS NULL AND t.sender_id IS DISTINCT FROM :user_id
                LIMIT {COUNTED_UNREAD}
            ) unread) AS unread_count,
            CASE WHEN :with_members THEN (
                SELECT CAST(json_agg(json_build_object(
                    'user_id', user_id, 'username', username, 'is_admin', is_admin, 'joined_at',
                    to_char(joined_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
                ) ORDER BY joined_at, user_id) AS text)
                FROM (
                    SELECT m.user_id, u.username, m.is_admin, m.joined_at
                    FROM chat_members m JOIN users u ON u.id = m.user_id WHERE m.chat_id = page.id
                    ORDER BY m.joined_at, m.user_id LIMIT {SHOWN_MEMBERS}
                ) shown
            ) END AS members
        FROM page ORDER BY updated_at DESC, id DESC
        """  # noqa: S608
    )


_PAGE = _details("")
_DETAIL = _details("AND m.chat_id = :chat_id")


async def get(database: Database, chat_id: ChatId) -> Chat | None:
    """One chat, whoever asks."""
    async with database.read() as connection:
        row = (await connection.execute(_GET, {"id": chat_id})).first()
    return None if row is None else _chat(row)


async def last_seqs(database: Database, chat_ids: list[ChatId]) -> dict[ChatId, Seq]:
    """The last position of each of these chats; those that do not exist are left out."""
    async with database.read() as connection:
        rows = (await connection.execute(_LAST_SEQS, {"ids": chat_ids})).all()
    return {row.id: row.last_seq for row in rows}


async def page(
    database: Database, user_id: UserId, *, limit: int, offset: int, with_members: bool = True
) -> list[ChatDetail]:
    """The user's chats, last active first."""
    values = {"user_id": user_id, "limit": limit, "offset": offset, "with_members": with_members}
    async with database.read() as connection:
        rows = (await connection.execute(_PAGE, values)).all()
    return [_detail(row) for row in rows]


async def detail(database: Database, user_id: UserId, chat_id: ChatId) -> ChatDetail | None:
    """One chat as its member sees it; None for who is not one."""
    values = {"user_id": user_id, "chat_id": chat_id, "limit": 1, "offset": 0, "with_members": True}
    async with database.read() as connection:
        row = (await connection.execute(_DETAIL, values)).first()
    return None if row is None else _detail(row)


async def lock(connection: AsyncConnection, chat_ids: Sequence[ChatId]) -> list[Chat]:
    """Those of the chats that exist, by id; until the transaction ends nobody else takes a position in them."""
    rows = (await connection.execute(_LOCK, {"ids": list(chat_ids)})).all()
    return [_chat(row) for row in rows]


async def insert_group(connection: AsyncConnection, name: str, creator_id: UserId) -> Chat:
    """Add a group without members."""
    return _chat((await connection.execute(_INSERT_GROUP, {"name": name, "creator_id": creator_id})).one())


async def insert_direct(connection: AsyncConnection, name: str, creator_id: UserId, direct_key: str) -> Chat | None:
    """Add a direct chat without members. None when the pair has one, also when another transaction just makes it."""
    values = {"name": name, "creator_id": creator_id, "direct_key": direct_key}
    row = (await connection.execute(_INSERT_DIRECT, values)).first()
    return None if row is None else _chat(row)


async def direct(connection: AsyncConnection, direct_key: str) -> Chat | None:
    """The direct chat of a pair."""
    row = (await connection.execute(_DIRECT, {"direct_key": direct_key})).first()
    return None if row is None else _chat(row)


def direct_key(one: UserId, other: UserId) -> str:
    """The two ids in their order, so that a pair has one key whoever asks."""
    return f"{min(one, other)}:{max(one, other)}"


async def rename(connection: AsyncConnection, chat_id: ChatId, name: str) -> None:
    """Set the name of a chat that is locked."""
    await connection.execute(_RENAME, {"id": chat_id, "name": name})


async def delete(connection: AsyncConnection, chat_ids: Sequence[ChatId]) -> None:
    """Delete chats that are locked, with all that is in them. Takes seconds for a chat of a million messages."""
    if chat_ids:
        driver = await driver_of(connection)  # for its own limit of time; the transaction began with the lock
        await driver.execute(f"SET LOCAL statement_timeout = '{_DELETE_TIMEOUT_S}s'")
        await driver.execute(_DELETE, list(chat_ids), timeout=_DELETE_TIMEOUT_S + CLIENT_MARGIN_S)


async def concerning(connection: AsyncConnection, user_id: UserId) -> list[ChatId]:
    """The chats that the user is a member of or created."""
    return list((await connection.execute(_CONCERNING, {"user_id": user_id})).scalars())


async def inherit(connection: AsyncConnection, chat_ids: Sequence[ChatId], creator_id: UserId) -> None:
    """Pass those of the (locked) chats that this user created to the longest-standing admin, else member."""
    await connection.execute(_INHERIT, {"ids": list(chat_ids), "creator_id": creator_id})


_decode_members = msgspec.json.Decoder(list[Member]).decode


def _chat(row: Any) -> Chat:
    return Chat(row.id, row.name, row.is_group, row.creator_id, row.created_at, row.updated_at, row.last_seq)


def _detail(row: Any) -> ChatDetail:
    return ChatDetail(
        id=row.id,
        name=row.name,
        is_group=row.is_group,
        creator_id=row.creator_id,
        created_at=row.created_at,
        updated_at=row.updated_at,
        last_seq=row.last_seq,
        members=_decode_members(row.members) if row.members else [],
        member_count=row.member_count,
        unread_count=row.unread_count,
        last_read_seq=row.last_read_seq,
    )
