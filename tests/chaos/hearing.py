"""A frame, as it is recorded."""

from __future__ import annotations

from typing import assert_never

from chatapp.protocol.events import (
    ChatUpdated,
    MemberAdded,
    MemberRemoved,
    MessageDeleted,
    MessageSent,
    MessageUpdated,
    System,
)
from tests.chaos.history import FrameKind, Heard, digest

Positioned = MessageSent | MessageUpdated | MessageDeleted | System | ChatUpdated | MemberAdded | MemberRemoved


def heard(event: Positioned, at: float, connection: int) -> Heard | None:
    """The record of a frame; None for one without a position, such as of comings and goings of connections."""
    payload = event.payload
    chat_id = payload.chat_id
    match event:
        case MessageSent(payload=message):
            seq, content = message.seq, digest(message.content)
            return Heard(at, connection, chat_id, seq, seq, FrameKind.MESSAGE, message.message_id, content)
        case MessageUpdated(payload=update):
            content = digest(update.content)
            position, kind = update.changed_seq, FrameKind.UPDATED
            return Heard(at, connection, chat_id, position, update.seq, kind, update.message_id, content)
        case MessageDeleted(payload=deletion):
            position, kind = deletion.changed_seq, FrameKind.DELETED
            return Heard(at, connection, chat_id, position, deletion.seq, kind, deletion.message_id)
        case System(payload=sentence):
            if sentence.seq is None:
                return None
            content = digest(sentence.message)
            return Heard(at, connection, chat_id, sentence.seq, sentence.seq, FrameKind.SYSTEM, content=content)
        case ChatUpdated(payload=chat):
            return Heard(at, connection, chat_id, chat.seq, chat.seq, FrameKind.CHAT_UPDATED)
        case MemberAdded(payload=added):
            kind, subject = FrameKind.MEMBER_ADDED, added.user_id
            return Heard(at, connection, chat_id, added.seq, added.seq, kind, subject=subject)
        case MemberRemoved(payload=removed):
            kind, subject = FrameKind.MEMBER_REMOVED, removed.user_id
            return Heard(at, connection, chat_id, removed.seq, removed.seq, kind, subject=subject)
    assert_never(event)
