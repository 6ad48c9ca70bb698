"""Rows as the statements return them, where they are more than a view."""

from __future__ import annotations

from datetime import datetime
from enum import IntEnum

from msgspec import Struct

from chatapp.protocol.ids import ChatId, MessageId, Seq, UserId
from chatapp.protocol.views import MessageKind


class Action(IntEnum):
    """What a system row did. Numbers are stored: never reuse one."""

    MEMBER_ADDED = 1
    MEMBER_REMOVED = 2
    MEMBER_LEFT = 3
    RENAMED = 4
    ADMIN_GRANTED = 5
    ADMIN_REVOKED = 6


class MessageRow(Struct, frozen=True, kw_only=True):
    """A row of ``messages`` in its newest state, with the names that its event carries."""

    id: MessageId
    chat_id: ChatId
    seq: Seq
    kind: MessageKind
    content: str
    created_at: datetime
    updated_at: datetime
    changed_seq: Seq | None = None
    """The position of its newest edit or deletion."""
    sender_id: UserId | None = None
    username: str = ""
    """The sender's name now; empty without a sender."""
    is_edited: bool = False
    deleted: bool = False
    action: Action | None = None
    """Of a system row."""
    subject_id: UserId | None = None
    """Whom a system row concerns."""
    detail: str = ""
    """Of a system row: the subject's name at the time, or the chat's new name."""
