"""Statements on sessions: the logins of users. A session that ended has no row; its revocation has one."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from msgspec import Struct
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from chatapp.protocol.ids import SessionId, UserId
from chatapp.storage.engine import Database
from chatapp.storage.revocations import COLUMNS, RevocationRow
from chatapp.storage.revocations import row as revocation

# A token is issued a moment after its session's row was written: a revocation must outlive it.
_ISSUE_MARGIN = "interval '1 minute'"

# One round trip also where the user has too many: then the oldest end, as if they had been ended by hand.
_OPEN = text(
    f"""
    WITH opened AS (
        INSERT INTO sessions (user_id, address, user_agent, expires_at)
        VALUES (:user_id, :address, :user_agent, :expires_at) RETURNING id
    ), crowded_out AS (
        DELETE FROM sessions WHERE id IN (
            SELECT id FROM sessions WHERE user_id = :user_id ORDER BY id DESC OFFSET :others
        ) RETURNING id, user_id, expires_at
    ), ended AS (
        INSERT INTO revocations (user_id, session_id, expires_at, created_at, effective_at)
        SELECT user_id, id, expires_at + {_ISSUE_MARGIN}, time.now, time.now
        FROM crowded_out, (SELECT clock_timestamp() AS now) time
        RETURNING {COLUMNS}
    )
    SELECT opened.id AS opened_id, ended.* FROM opened LEFT JOIN ended ON true
    """  # noqa: S608
)
_PAGE = text(
    """
    SELECT id, address, user_agent, created_at, last_seen, expires_at FROM sessions
    WHERE user_id = :user_id AND expires_at > now() ORDER BY id DESC LIMIT :limit OFFSET :offset
    """
)
_RENEW = text(
    """
    UPDATE sessions SET expires_at = greatest(expires_at, :expires_at), last_seen = now(),
        address = :address, user_agent = :user_agent
    WHERE id = :id AND user_id = :user_id RETURNING id
    """
)
_END = text(
    f"""
    DELETE FROM sessions WHERE id = :id AND user_id = :user_id RETURNING expires_at + {_ISSUE_MARGIN} AS expires_at
    """  # noqa: S608
)
_END_ALL = text("DELETE FROM sessions WHERE user_id = :user_id AND id IS DISTINCT FROM CAST(:spared AS bigint)")
# A row that somebody else just changes is seen a minute later.
_SEEN = text(
    """
    UPDATE sessions SET last_seen = now() WHERE id IN (
        SELECT id FROM sessions WHERE id = ANY (CAST(:ids AS bigint[])) AND last_seen < now() - interval '30 seconds'
        ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
    )
    """
)
_PRUNE = text(f"DELETE FROM sessions WHERE expires_at < now() - {_ISSUE_MARGIN}")  # noqa: S608


class Origin(Struct, frozen=True):
    """Where a login or renewal came from."""

    address: str = ""
    """At most 64 characters."""
    user_agent: str = ""
    """At most 200 characters."""


class SessionRow(Struct, frozen=True):
    """A session that has not ended."""

    id: SessionId
    origin: Origin
    created_at: datetime
    last_seen: datetime
    expires_at: datetime


class Opened(Struct, frozen=True):
    """A new session, and the ends of those that it crowded out."""

    session_id: SessionId
    ended: list[RevocationRow]


async def start(database: Database, user_id: UserId, origin: Origin, *, expires_at: datetime, limit: int) -> Opened:
    """Add a session. Of more than ``limit`` the oldest end; tell their revocations."""
    values = {
        "user_id": user_id,
        "address": origin.address,
        "user_agent": origin.user_agent,
        "expires_at": expires_at,
        "others": limit - 1,
    }
    async with database.read() as connection:
        rows = (await connection.execute(_OPEN, values)).all()
    return Opened(rows[0].opened_id, [revocation(row) for row in rows if row.id is not None])


async def page(database: Database, user_id: UserId, *, limit: int, offset: int) -> list[SessionRow]:
    """The user's sessions, newest first."""
    values = {"user_id": user_id, "limit": limit, "offset": offset}
    async with database.read() as connection:
        rows = (await connection.execute(_PAGE, values)).all()
    return [_session(row) for row in rows]


async def renew(
    connection: AsyncConnection, user_id: UserId, session_id: SessionId, origin: Origin, *, expires_at: datetime
) -> bool:
    """Note that a token of the session was renewed. False when it has ended."""
    values = {
        "id": session_id,
        "user_id": user_id,
        "address": origin.address,
        "user_agent": origin.user_agent,
        "expires_at": expires_at,
    }
    return (await connection.execute(_RENEW, values)).first() is not None


async def end(connection: AsyncConnection, user_id: UserId, session_id: SessionId) -> datetime | None:
    """Remove one session of this user; until when its end must be remembered. None without such a session."""
    values = {"id": session_id, "user_id": user_id}
    expires_at: datetime | None = (await connection.execute(_END, values)).scalar()
    return expires_at


async def end_all(connection: AsyncConnection, user_id: UserId, spared: SessionId | None = None) -> int:
    """Remove the user's sessions, but perhaps one; how many. Their tokens are ended by generation."""
    return (await connection.execute(_END_ALL, {"user_id": user_id, "spared": spared})).rowcount


async def seen(database: Database, session_ids: Collection[SessionId]) -> None:
    """Note that these are in use now."""
    async with database.read() as connection:
        await connection.execute(_SEEN, {"ids": list(session_ids)})


async def prune(database: Database) -> None:
    """Remove those whose last token has expired."""
    async with database.read() as connection:
        await connection.execute(_PRUNE)


def _session(row: Any) -> SessionRow:
    return SessionRow(row.id, Origin(row.address, row.user_agent), row.created_at, row.last_seen, row.expires_at)
