"""Statements on the log of what admins and operators do."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec
from msgspec import Struct
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from chatapp.protocol.ids import ChatId, MessageId, SessionId, UserId
from chatapp.storage.engine import Database

ActorKind = Literal["user", "operator", "replica"]
ActionName = Literal[
    "chat.renamed",
    "chat.deleted",
    "members.added",
    "member.removed",
    "member.role_changed",
    "message.deleted",
    "session.ended",
    "sessions.ended",
    "token.issued",
    "user.created",
    "user.password_set",
    "user.suspended",
    "user.reinstated",
    "user.deleted",
    "keys.changed",
]
"""Stored: never give one another meaning."""

# at is when the row was written, not when its transaction began.
_WRITE = text(
    """
    INSERT INTO audit_log (at, actor_kind, actor_id, actor_name, action, target, details, request_id)
    VALUES (clock_timestamp(), :actor_kind, :actor_id, :actor_name, :action, :target, CAST(:details AS jsonb),
        :request_id)
    """
)
_PAGE = text(
    """
    SELECT id, at, actor_kind, actor_id, actor_name, action, target, CAST(details AS text) AS details, request_id
    FROM audit_log
    WHERE (CAST(:before AS bigint) IS NULL OR id < :before)
        AND (CAST(:target AS text) IS NULL OR target = :target)
        AND (CAST(:actor_id AS bigint) IS NULL OR actor_id = :actor_id)
        AND (CAST(:action AS text) IS NULL OR action = :action)
        AND (CAST(:since AS timestamptz) IS NULL OR at >= :since)
    ORDER BY id DESC LIMIT :limit
    """
)
_FORGET = text("DELETE FROM audit_log WHERE at < :before")


class Actor(Struct, frozen=True):
    """Who did it."""

    kind: ActorKind
    name: str
    """A user's name at the time, an operator's on his host, or a replica's host."""
    id: UserId | None = None
    """Of a user."""


class Details(Struct, frozen=True, omit_defaults=True):
    """What more there is to know; each act says what it can. Has no place for contents, passwords, tokens or keys."""

    name: str = ""
    """Of the chat or user: the new one where it changed."""
    former_name: str = ""
    chat_id: ChatId | None = None
    message_id: MessageId | None = None
    user_ids: list[UserId] | None = None
    """Whom it concerned: who was added, removed, promoted, or had sent the message."""
    is_admin: bool | None = None
    """The role that was given (true) or taken."""
    session_id: SessionId | None = None
    count: int | None = None
    """How many sessions ended."""
    key_ids: list[str] | None = None
    """Fingerprints of the keys in use from then on, that of the signing one first."""


class Record(Struct, frozen=True, kw_only=True):
    """One act."""

    id: int
    at: datetime
    actor: Actor
    action: ActionName
    target: str
    """Such as ``chat:7``, ``user:3``, ``message:99``, ``keys``."""
    details: Details
    request_id: str


async def write(
    connection: AsyncConnection, actor: Actor, action: ActionName, target: str, details: Details, request_id: str
) -> None:
    """Note an act, as part of its transaction."""
    values = {
        "actor_kind": actor.kind,
        "actor_id": actor.id,
        "actor_name": actor.name,
        "action": action,
        "target": target,
        "details": msgspec.json.encode(details).decode(),
        "request_id": request_id,
    }
    await connection.execute(_WRITE, values)


async def page(
    database: Database,
    *,
    limit: int,
    before: int | None = None,
    target: str | None = None,
    actor_id: UserId | None = None,
    action: ActionName | None = None,
    since: datetime | None = None,
) -> list[Record]:
    """Newest first. ``before``: only what has a lower id, for the next page."""
    values: dict[str, Any] = {
        "limit": limit,
        "before": before,
        "target": target,
        "actor_id": actor_id,
        "action": action,
        "since": since,
    }
    async with database.read() as connection:
        rows = (await connection.execute(_PAGE, values)).all()
    return [_record(row) for row in rows]


async def forget(database: Database, before: datetime) -> int:
    """Delete what is older; how much that was."""
    async with database.begin() as connection:
        return (await connection.execute(_FORGET, {"before": before})).rowcount


def _record(row: Any) -> Record:
    return Record(
        id=row.id,
        at=row.at,
        actor=Actor(row.actor_kind, row.actor_name, row.actor_id),
        action=row.action,
        target=row.target,
        details=msgspec.json.decode(row.details, type=Details),
        request_id=row.request_id,
    )
