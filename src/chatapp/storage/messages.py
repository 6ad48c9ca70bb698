"""Statements on messages, but for appending them (``writer``)."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from chatapp.errors import Forbidden, MessageNotFound, NotAMember
from chatapp.protocol.ids import ChatId, MessageId, Seq, UserId
from chatapp.protocol.views import Message, Profile
from chatapp.storage.engine import Database
from chatapp.storage.rows import Action, MessageRow

_COLUMNS = """
    m.id, m.chat_id, m.seq, m.changed_seq, m.content, m.sender_id, m.kind, m.is_edited, m.created_at, m.updated_at,
    m.deleted_at, m.action, m.subject_id, m.detail,
    u.username, u.display_name, u.created_at AS user_created_at, u.last_seen
"""

_GET = text(f"SELECT {_COLUMNS} FROM messages m LEFT JOIN users u ON u.id = m.sender_id WHERE m.id = :id")  # noqa: S608

_GET_FOR = text(
    f"""
    SELECT {_COLUMNS}, member.user_id IS NOT NULL AS is_member
    FROM messages m
    LEFT JOIN users u ON u.id = m.sender_id
    LEFT JOIN chat_members member ON member.chat_id = m.chat_id AND member.user_id = :user_id
    WHERE m.id = :id AND m.deleted_at IS NULL
    """  # noqa: S608
)


# The membership is the outer row: no row at all means "not a member", a row without a message an empty page.
_FOR_MEMBER = "SELECT chat_id FROM chat_members WHERE user_id = :user_id AND chat_id = :chat_id"
# No row at all means that this server (a standby) has not got the chat as far as that.
_AT_POSITION = """
    SELECT chats.id AS chat_id FROM chats CROSS JOIN epochs
    WHERE chats.id = :chat_id AND chats.last_seq >= :at_least AND epochs.epoch = :epoch
"""


def _page(outside: str, condition: str, order: str) -> Any:
    return text(
        f"""
        SELECT m.*, u.username, u.display_name, u.created_at AS user_created_at, u.last_seen
        FROM ({outside}) seen
        LEFT JOIN LATERAL (
            SELECT * FROM messages
            WHERE chat_id = seen.chat_id AND deleted_at IS NULL {condition}
            ORDER BY seq {order} LIMIT :limit OFFSET :offset
        ) m ON true
        LEFT JOIN users u ON u.id = m.sender_id
        ORDER BY m.seq {order}
        """  # noqa: S608
    )


def _pages(outside: str) -> dict[tuple[bool, bool], Any]:
    """By whether there is a ``before`` and an ``after``."""
    return {
        (False, False): _page(outside, "", "DESC"),
        (True, False): _page(outside, "AND seq < :before", "DESC"),
        (False, True): _page(outside, "AND seq > :after", "ASC"),
        (True, True): _page(outside, "AND seq > :after AND seq < :before", "ASC"),
    }


_PAGES = _pages(_FOR_MEMBER)
_PAGES_AT = _pages(_AT_POSITION)

# Two ordered index scans, merged: what was sent, and what changed of it before ``start`` or was deleted.
_BETWEEN_POSITIONS = text(
    f"""
    SELECT * FROM (
        (SELECT {_COLUMNS}, m.seq AS position, false AS is_change
         FROM messages m LEFT JOIN users u ON u.id = m.sender_id
         WHERE m.chat_id = :chat_id AND m.seq > :after AND m.seq <= :upto AND m.deleted_at IS NULL
         ORDER BY m.seq LIMIT :limit)
        UNION ALL
        (SELECT {_COLUMNS}, m.changed_seq AS position, true AS is_change
         FROM messages m LEFT JOIN users u ON u.id = m.sender_id
         WHERE m.chat_id = :chat_id AND m.changed_seq > :after AND m.changed_seq <= :upto
           AND (m.seq <= :start OR m.deleted_at IS NOT NULL)
         ORDER BY m.changed_seq LIMIT :limit)
    ) both_kinds ORDER BY position LIMIT :limit
    """  # noqa: S608
)

_CHAT_OF = text("SELECT chat_id, sender_id FROM messages WHERE id = :id AND deleted_at IS NULL AND kind = 'text'")
_TAKE_POSITION = text(
    "UPDATE chats SET last_seq = last_seq + 1, updated_at = clock_timestamp() WHERE id = :chat_id "
    "RETURNING last_seq, is_group"
)
_MEMBER = text("SELECT is_admin FROM chat_members WHERE chat_id = :chat_id AND user_id = :user_id")
_EDIT = text(
    """
    UPDATE messages SET content = :content, is_edited = true, changed_seq = :position, updated_at = clock_timestamp()
    WHERE id = :id AND deleted_at IS NULL RETURNING id
    """
)
_ERASE = text(
    """
    UPDATE messages SET content = '', nonce_digest = NULL, changed_seq = :position,
        updated_at = clock_timestamp(), deleted_at = clock_timestamp()
    WHERE id = :id AND deleted_at IS NULL RETURNING id
    """
)


async def get(database: Database, message_id: MessageId, *, include_deleted: bool = False) -> Message | None:
    """One message with its sender, whoever asks."""
    async with database.read() as connection:
        row = (await connection.execute(_GET, {"id": message_id})).mappings().first()
    if row is None or (row["deleted_at"] is not None and not include_deleted):
        return None
    return _message(row)


async def get_for(database: Database, message_id: MessageId, user_id: UserId) -> tuple[Message | None, bool]:
    """One message with its sender, and whether this user is a member of its chat."""
    async with database.read() as connection:
        row = (await connection.execute(_GET_FOR, {"id": message_id, "user_id": user_id})).mappings().first()
    if row is None:
        return None, False
    return _message(row), bool(row["is_member"])


async def history(
    database: Database,
    chat_id: ChatId,
    user_id: UserId,
    *,
    limit: int,
    offset: int = 0,
    before: Seq | None = None,
    after: Seq | None = None,
) -> list[Message] | None:
    """A page of a chat, as its member ``user_id`` may see it: newest first, or oldest first with ``after``.

    None when the user is not a member. With ``before`` and ``after`` the cost does not depend on the depth.
    """
    values = {"chat_id": chat_id, "user_id": user_id}
    return await _history(database, _PAGES, values, limit=limit, offset=offset, before=before, after=after)


async def history_at(
    database: Database,
    chat_id: ChatId,
    at_least: Seq,
    epoch: str,
    *,
    limit: int,
    offset: int = 0,
    before: Seq | None = None,
    after: Seq | None = None,
) -> list[Message] | None:
    """The same page, whoever asks; None when this database has the chat not yet up to ``at_least``.

    The epoch makes sure that it is the same chat: a standby may be a copy of another past.
    """
    values = {"chat_id": chat_id, "at_least": at_least, "epoch": epoch}
    return await _history(database, _PAGES_AT, values, limit=limit, offset=offset, before=before, after=after)


async def _history(
    database: Database,
    pages: dict[tuple[bool, bool], Any],
    values: dict[str, Any],
    *,
    limit: int,
    offset: int,
    before: Seq | None,
    after: Seq | None,
) -> list[Message] | None:
    statement = pages[before is not None, after is not None]
    values |= {"limit": limit, "offset": offset}
    if before is not None:
        values["before"] = before
    if after is not None:
        values["after"] = after
    async with database.read() as connection:
        rows = (await connection.execute(statement, values)).mappings().all()
    if not rows:
        return None
    return [_message(row) for row in rows if row["id"] is not None]


async def between(
    database: Database, chat_id: ChatId, *, start: Seq, after: Seq, upto: Seq, limit: int
) -> list[tuple[MessageRow, bool]]:
    """What a client at position ``start`` has to hear of ``after < position <= upto``, ascending by position.

    Each row with whether it stands for its change. Living messages sent after ``start`` come once, at their ``seq``,
    in their newest state; older ones that changed, and all deleted ones, at their ``changed_seq``. A change that a
    later one replaced has no row, so positions may be skipped, but breaking off after any row loses nothing.
    """
    values = {"chat_id": chat_id, "start": start, "after": after, "upto": upto, "limit": limit}
    async with database.read() as connection:
        rows = (await connection.execute(_BETWEEN_POSITIONS, values)).mappings().all()
    return [(_row(row), row["is_change"]) for row in rows]


async def edit(database: Database, message_id: MessageId, user_id: UserId, content: str) -> MessageRow:
    """Replace the content and take the chat's next position for it.

    Raises ``MessageNotFound``, ``Forbidden`` (not the sender), ``NotAMember`` (no longer in the chat).
    """
    async with database.begin() as connection:
        chat_id, sender_id = await _chat_of(connection, message_id)
        if sender_id != user_id:
            raise Forbidden("you can only edit your own messages", code="not_your_message")
        position, _ = await _take_position(connection, chat_id)
        if await _role(connection, chat_id, user_id) is None:
            raise NotAMember
        return await _change(connection, _EDIT, {"id": message_id, "position": position, "content": content})


async def delete(connection: AsyncConnection, message_id: MessageId, user_id: UserId) -> MessageRow:
    """Erase the content and take the chat's next position for it; the row and its ``seq`` stay.

    For the sender, and for an admin of a group. Raises ``MessageNotFound``, ``Forbidden`` or ``NotAMember``.
    """
    chat_id, sender_id = await _chat_of(connection, message_id)
    position, is_group = await _take_position(connection, chat_id)
    is_admin = await _role(connection, chat_id, user_id)
    if sender_id != user_id and not (is_admin and is_group):
        raise Forbidden("you can only delete your own messages", code="not_your_message")
    if is_admin is None:
        raise NotAMember
    return await _change(connection, _ERASE, {"id": message_id, "position": position})


async def _chat_of(connection: AsyncConnection, message_id: MessageId) -> tuple[ChatId, UserId | None]:
    row = (await connection.execute(_CHAT_OF, {"id": message_id})).first()
    if row is None:
        raise MessageNotFound
    return row.chat_id, row.sender_id


async def _take_position(connection: AsyncConnection, chat_id: ChatId) -> tuple[Seq, bool]:
    """The chat's next position; its row is locked until the end of the transaction."""
    row = (await connection.execute(_TAKE_POSITION, {"chat_id": chat_id})).first()
    if row is None:
        raise MessageNotFound  # the chat was deleted meanwhile, and the message with it
    return row.last_seq, row.is_group


async def _role(connection: AsyncConnection, chat_id: ChatId, user_id: UserId) -> bool | None:
    """Whether the user is an admin of the chat; None when not a member."""
    row = (await connection.execute(_MEMBER, {"chat_id": chat_id, "user_id": user_id})).first()
    return None if row is None else row.is_admin


async def _change(connection: AsyncConnection, statement: Any, values: dict[str, Any]) -> MessageRow:
    if (await connection.execute(statement, values)).first() is None:
        raise MessageNotFound  # deleted between being found and the lock
    row = (await connection.execute(_GET, {"id": values["id"]})).mappings().one()
    return _row(row)


def _message(row: Any) -> Message:
    sender_id = row["sender_id"]
    sender = None
    if sender_id is not None:
        sender = Profile(sender_id, row["username"], row["user_created_at"], row["display_name"], row["last_seen"])
    return Message(
        id=row["id"],
        chat_id=row["chat_id"],
        seq=row["seq"],
        content=row["content"],
        sender_id=sender_id,
        kind=row["kind"],
        is_edited=row["is_edited"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        sender=sender,
    )


def _row(row: Any) -> MessageRow:
    action = row["action"]
    return MessageRow(
        id=row["id"],
        chat_id=row["chat_id"],
        seq=row["seq"],
        kind=row["kind"],
        content=row["content"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        changed_seq=row["changed_seq"],
        sender_id=row["sender_id"],
        username=row["username"] or "",
        is_edited=row["is_edited"],
        deleted=row["deleted_at"] is not None,
        action=None if action is None else Action(action),
        subject_id=row["subject_id"],
        detail=row["detail"] or "",
    )
