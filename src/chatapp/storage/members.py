"""Statements on memberships: who is in which chat, since which position, and how far each has read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from chatapp.errors import NotAMember
from chatapp.protocol.events import ChatPosition
from chatapp.protocol.ids import ChatId, Seq, UserId
from chatapp.protocol.views import Member
from chatapp.storage.engine import Database

_MEMBER = "m.user_id, u.username, m.is_admin, m.joined_at"

_ONE = text(
    f"""
    SELECT {_MEMBER} FROM chat_members m JOIN users u ON u.id = m.user_id
    WHERE m.chat_id = :chat_id AND m.user_id = :user_id
    """  # noqa: S608
)
# The asker's own membership is the outer row: no row at all means "not a member".
_PAGE = text(
    f"""
    SELECT m.* FROM chat_members asker
    LEFT JOIN LATERAL (
        SELECT {_MEMBER} FROM chat_members m JOIN users u ON u.id = m.user_id WHERE m.chat_id = asker.chat_id
        ORDER BY m.joined_at, m.user_id LIMIT :limit OFFSET :offset
    ) m ON true
    WHERE asker.chat_id = :chat_id AND asker.user_id = :asker_id ORDER BY m.joined_at, m.user_id
    """  # noqa: S608
)
_AMONG = text(
    "SELECT user_id FROM chat_members WHERE chat_id = :chat_id AND user_id = ANY (CAST(:user_ids AS bigint[]))"
)
# What was before the joining does not count as unread.
_INSERT = text(
    """
    INSERT INTO chat_members (chat_id, user_id, is_admin, joined_at, joined_seq, last_read_seq)
    SELECT :chat_id, n.user_id, n.is_admin, CAST(:joined_at AS timestamptz), n.joined_seq, n.joined_seq
    FROM unnest(CAST(:user_ids AS bigint[]), CAST(:admins AS boolean[]), CAST(:joined_seqs AS bigint[]))
        AS n (user_id, is_admin, joined_seq)
    """
)
_REMOVE = text(
    "DELETE FROM chat_members WHERE user_id = :user_id AND chat_id = ANY (CAST(:chat_ids AS bigint[])) "
    "RETURNING chat_id"
)
_CHATS_OF = text("SELECT chat_id FROM chat_members WHERE user_id = :user_id")
_SET_ADMIN = text(
    """
    UPDATE chat_members SET is_admin = :is_admin
    FROM unnest(CAST(:chat_ids AS bigint[]), CAST(:user_ids AS bigint[])) AS n (chat_id, user_id)
    WHERE chat_members.chat_id = n.chat_id AND chat_members.user_id = n.user_id
    """
)
_HEIRS = text(
    """
    SELECT DISTINCT ON (m.chat_id) m.chat_id, m.user_id, u.username, m.is_admin
    FROM chat_members m JOIN users u ON u.id = m.user_id
    WHERE m.chat_id = ANY (CAST(:chat_ids AS bigint[]))
    ORDER BY m.chat_id, m.is_admin DESC, m.joined_at, m.user_id
    """
)
_OTHER_ADMIN = text(
    "SELECT EXISTS (SELECT 1 FROM chat_members WHERE chat_id = :chat_id AND is_admin AND user_id <> :user_id)"
)
_MARK_READ = text(
    """
    WITH moved AS (
        UPDATE chat_members m SET last_read_seq = least(CAST(:seq AS bigint), c.last_seq) FROM chats c
        WHERE m.chat_id = :chat_id AND m.user_id = :user_id AND c.id = m.chat_id
            AND m.last_read_seq < least(CAST(:seq AS bigint), c.last_seq)
        RETURNING m.last_read_seq
    )
    SELECT (SELECT last_read_seq FROM moved) AS moved, last_read_seq AS was
    FROM chat_members WHERE chat_id = :chat_id AND user_id = :user_id
    """
)
_POSITIONS_OF = text(
    """
    SELECT m.user_id, c.id, c.last_seq, m.last_read_seq FROM chat_members m JOIN chats c ON c.id = m.chat_id
    WHERE m.user_id = ANY (CAST(:user_ids AS bigint[])) ORDER BY c.updated_at DESC, c.id DESC
    """
)
_MEMBERSHIP = text(
    """
    SELECT c.id, c.last_seq, m.last_read_seq FROM chat_members m JOIN chats c ON c.id = m.chat_id
    WHERE m.user_id = :user_id AND m.chat_id = ANY (CAST(:chat_ids AS bigint[]))
    """
)
_JOINED_SINCE = text(
    """
    SELECT user_id, chat_id, joined_seq, joined_at FROM chat_members
    WHERE joined_at >= :since AND user_id = ANY (CAST(:user_ids AS bigint[])) ORDER BY joined_at
    """
)


class Joining(Struct, frozen=True):
    """A membership's beginning. ``joined_at`` is the database's time, of before the commit."""

    user_id: UserId
    chat_id: ChatId
    joined_seq: Seq
    joined_at: datetime


class Heir(Struct, frozen=True):
    """The longest-standing admin of a chat, else its longest-standing member."""

    user_id: UserId
    username: str
    is_admin: bool


class NewMember(Struct, frozen=True):
    """Who is to be a member, and from which position on. 0 is a founding member."""

    user_id: UserId
    joined_seq: Seq
    is_admin: bool = False


class ReadMark(Struct, frozen=True):
    """How far a member has read, and whether that is new."""

    seq: Seq
    moved: bool


# -- for one who asks ---------------------------------------------------------------------------------------------


async def page(
    database: Database, chat_id: ChatId, asker_id: UserId, *, limit: int, offset: int
) -> list[Member] | None:
    """The members in the order of joining; None when the asker is not one."""
    values = {"chat_id": chat_id, "asker_id": asker_id, "limit": limit, "offset": offset}
    async with database.read() as connection:
        rows = (await connection.execute(_PAGE, values)).all()
    if not rows:
        return None
    return [_member(row) for row in rows if row.user_id is not None]


async def mark_read(database: Database, chat_id: ChatId, user_id: UserId, seq: Seq) -> ReadMark:
    """Move the read mark forward, at most to the chat's last position. Raises ``NotAMember``."""
    values = {"chat_id": chat_id, "user_id": user_id, "seq": seq}
    async with database.read() as connection:
        row = (await connection.execute(_MARK_READ, values)).first()
    if row is None:
        raise NotAMember
    return ReadMark(row.was, moved=False) if row.moved is None else ReadMark(row.moved, moved=True)


# -- for the connections of a replica, many at once ---------------------------------------------------------------


async def positions_of(database: Database, user_ids: list[UserId]) -> dict[UserId, list[ChatPosition]]:
    """The chats of each of these users, last active first. Every user asked for has an entry."""
    async with database.read() as connection:
        rows = (await connection.execute(_POSITIONS_OF, {"user_ids": user_ids})).all()
    found: defaultdict[UserId, list[ChatPosition]] = defaultdict(list)
    for row in rows:
        found[row.user_id].append(ChatPosition(row.id, row.last_seq, row.last_read_seq))
    return {user_id: found[user_id] for user_id in user_ids}


async def membership(database: Database, user_id: UserId, chat_ids: list[ChatId]) -> dict[ChatId, ChatPosition]:
    """Those of the chats that the user is a member of."""
    async with database.read() as connection:
        rows = (await connection.execute(_MEMBERSHIP, {"user_id": user_id, "chat_ids": chat_ids})).all()
    return {row.id: ChatPosition(row.id, row.last_seq, row.last_read_seq) for row in rows}


async def joined_since(database: Database, user_ids: list[UserId], since: datetime) -> list[Joining]:
    """The memberships of these users that began at or after ``since``. Ask with some seconds' overlap."""
    async with database.read() as connection:
        rows = (await connection.execute(_JOINED_SINCE, {"user_ids": user_ids, "since": since})).all()
    return [Joining(row.user_id, row.chat_id, row.joined_seq, row.joined_at) for row in rows]


# -- within a transaction that holds the chat's lock --------------------------------------------------------------


async def one(connection: AsyncConnection, chat_id: ChatId, user_id: UserId) -> Member | None:
    """One membership."""
    row = (await connection.execute(_ONE, {"chat_id": chat_id, "user_id": user_id})).first()
    return None if row is None else _member(row)


async def among(connection: AsyncConnection, chat_id: ChatId, user_ids: Sequence[UserId]) -> set[UserId]:
    """Those of the users who are members."""
    values = {"chat_id": chat_id, "user_ids": list(user_ids)}
    return set((await connection.execute(_AMONG, values)).scalars())


async def insert(connection: AsyncConnection, chat_id: ChatId, joined_at: datetime, new: Sequence[NewMember]) -> None:
    """Add members who are not members yet."""
    values = {
        "chat_id": chat_id,
        "joined_at": joined_at,
        "user_ids": [member.user_id for member in new],
        "admins": [member.is_admin for member in new],
        "joined_seqs": [member.joined_seq for member in new],
    }
    await connection.execute(_INSERT, values)


async def remove(connection: AsyncConnection, user_id: UserId, chat_ids: Sequence[ChatId]) -> list[ChatId]:
    """End the user's memberships in these chats; the chats where there was one."""
    return list((await connection.execute(_REMOVE, {"user_id": user_id, "chat_ids": list(chat_ids)})).scalars())


async def chats_of(connection: AsyncConnection, user_id: UserId) -> list[ChatId]:
    """The chats of one user."""
    return list((await connection.execute(_CHATS_OF, {"user_id": user_id})).scalars())


async def set_admin(connection: AsyncConnection, pairs: Sequence[tuple[ChatId, UserId]], *, is_admin: bool) -> None:
    """Give or take the role, to one member in each of the chats."""
    values = {
        "chat_ids": [chat_id for chat_id, _ in pairs],
        "user_ids": [user_id for _, user_id in pairs],
        "is_admin": is_admin,
    }
    await connection.execute(_SET_ADMIN, values)


async def heirs(connection: AsyncConnection, chat_ids: Sequence[ChatId]) -> dict[ChatId, Heir]:
    """Who is first in each of the chats. A chat without members is left out."""
    rows = (await connection.execute(_HEIRS, {"chat_ids": list(chat_ids)})).all()
    return {row.chat_id: Heir(row.user_id, row.username, row.is_admin) for row in rows}


async def has_other_admin(connection: AsyncConnection, chat_id: ChatId, user_id: UserId) -> bool:
    """Whether somebody else than this user is an admin."""
    return bool((await connection.execute(_OTHER_ADMIN, {"chat_id": chat_id, "user_id": user_id})).scalar())


def _member(row: Any) -> Member:
    return Member(row.user_id, row.username, row.is_admin, row.joined_at)
