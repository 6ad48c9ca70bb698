"""Statements on whom somebody's presence concerns, and when users were last seen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import text

from chatapp.protocol.ids import ChatId, UserId
from chatapp.storage.engine import Database

# A group is counted up to the limit and no further.
_CHATS = text(
    """
    SELECT m.user_id, m.chat_id FROM chat_members m JOIN chats c ON c.id = m.chat_id
    WHERE m.user_id = ANY (CAST(:user_ids AS bigint[])) AND (NOT c.is_group OR NOT EXISTS (
        SELECT 1 FROM chat_members o WHERE o.chat_id = m.chat_id OFFSET :group_limit))
    """
)
_KNOWN_TO = text(
    """
    SELECT u.id, u.last_seen FROM users u
    WHERE u.id = ANY (CAST(:user_ids AS bigint[])) AND u.deleted_at IS NULL AND (u.id = :asker_id OR EXISTS (
        SELECT 1 FROM chat_members theirs JOIN chat_members mine ON mine.chat_id = theirs.chat_id
        WHERE theirs.user_id = u.id AND mine.user_id = :asker_id))
    """
)
_TOUCH = text(
    """
    UPDATE users SET last_seen = seen.at
    FROM unnest(CAST(:user_ids AS bigint[]), CAST(:times AS timestamptz[])) AS seen (user_id, at)
    WHERE users.id = seen.user_id AND users.deleted_at IS NULL
        AND (users.last_seen IS NULL OR users.last_seen < seen.at)
    """
)


async def chats_told(
    database: Database, user_ids: Sequence[UserId], group_limit: int
) -> dict[UserId, tuple[ChatId, ...]]:
    """The direct chats of each of these users, and the groups with at most ``group_limit`` members."""
    async with database.read() as connection:
        rows = (await connection.execute(_CHATS, {"user_ids": list(user_ids), "group_limit": group_limit})).all()
    found: defaultdict[UserId, list[ChatId]] = defaultdict(list)
    for row in rows:
        found[row.user_id].append(row.chat_id)
    return {user_id: tuple(chats) for user_id, chats in found.items()}


async def known_to(database: Database, asker_id: UserId, user_ids: Sequence[UserId]) -> dict[UserId, datetime | None]:
    """Those of the users who share a chat with the asker, with when they were last seen."""
    async with database.read() as connection:
        rows = (await connection.execute(_KNOWN_TO, {"asker_id": asker_id, "user_ids": list(user_ids)})).all()
    return {row.id: row.last_seen for row in rows}


async def touch(database: Database, seen: Sequence[tuple[UserId, datetime]]) -> None:
    """Note when these users were last seen, where nothing later is known."""
    ordered = sorted(seen)  # always in one order, so that replicas do not wait for each other in a circle
    values = {"user_ids": [user_id for user_id, _ in ordered], "times": [at for _, at in ordered]}
    async with database.read() as connection:
        await connection.execute(_TOUCH, values)
