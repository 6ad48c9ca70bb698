"""Rows to events: the one place where an event is born, fresh from a commit or read again for a repair or replay.

A row can stand for two positions: its sending (``seq``) and its newest change (``changed_seq``). ``sent`` renders the
first, ``changed`` the second.
"""

from __future__ import annotations

from msgspec.structs import replace

from chatapp.protocol.envelope import Envelope, Kind
from chatapp.protocol.events import (
    ChatUpdated,
    ChatUpdatedPayload,
    MemberAdded,
    MemberChangedPayload,
    MemberRemoved,
    MessageDeleted,
    MessageDeletedPayload,
    MessagePayload,
    MessageSent,
    MessageUpdated,
    MessageUpdatedPayload,
    NewChat,
    System,
    SystemPayload,
    encode_event,
)
from chatapp.protocol.ids import Seq, UserId
from chatapp.protocol.views import Chat
from chatapp.storage.rows import Action, MessageRow

_REMOVALS = (Action.MEMBER_REMOVED, Action.MEMBER_LEFT)


def sent(row: MessageRow) -> Envelope:
    """The event of the row's sending, with its content as it is now. Its position is ``seq``."""
    if row.kind == "system":
        return _system(row)
    event = MessageSent(
        MessagePayload(
            message_id=row.id,
            content=row.content,
            sender_id=row.sender_id,
            username=row.username,
            chat_id=row.chat_id,
            timestamp=row.created_at,
            seq=row.seq,
            kind=row.kind,
        )
    )
    return Envelope(Kind.LASTING, row.chat_id, row.seq, (encode_event(event),))


def changed(row: MessageRow) -> Envelope:
    """The event of the row's newest edit or deletion. Its position is ``changed_seq``, which must be set."""
    position = row.changed_seq
    assert position is not None
    event: MessageUpdated | MessageDeleted
    if row.deleted:
        event = MessageDeleted(
            MessageDeletedPayload(message_id=row.id, chat_id=row.chat_id, seq=row.seq, changed_seq=position)
        )
    else:
        event = MessageUpdated(
            MessageUpdatedPayload(
                message_id=row.id,
                chat_id=row.chat_id,
                content=row.content,
                seq=row.seq,
                changed_seq=position,
                updated_at=row.updated_at,
            )
        )
    return Envelope(Kind.LASTING, row.chat_id, position, (encode_event(event),))


def joined(chat: Chat, user_id: UserId, position: Seq) -> Envelope:
    """``new_chat`` for who became a member at this position: there it stands for them, wherever it is by now.

    So a client that follows it from ``last_seq`` on misses nothing of what came after the joining.
    """
    event = NewChat(replace(chat, last_seq=position))
    return Envelope(Kind.JOINED, chat.id, position, (encode_event(event),), user_id)


def _system(row: MessageRow) -> Envelope:
    sentence = encode_event(System(SystemPayload(chat_id=row.chat_id, message=row.content, seq=row.seq)))
    what = _what_changed(row)
    frames = (sentence,) if what is None else (sentence, encode_event(what))
    if row.action in _REMOVALS and row.subject_id is not None:
        return Envelope(Kind.REMOVED, row.chat_id, row.seq, frames, row.subject_id)
    return Envelope(Kind.LASTING, row.chat_id, row.seq, frames)


def _what_changed(row: MessageRow) -> MemberAdded | MemberRemoved | ChatUpdated | None:
    subject = row.subject_id
    if row.action is Action.RENAMED:
        return ChatUpdated(ChatUpdatedPayload(row.chat_id, row.seq, row.created_at, name=row.detail))
    if subject is None:
        return None
    match row.action:
        case Action.MEMBER_ADDED:
            return MemberAdded(MemberChangedPayload(row.chat_id, subject, row.detail, row.seq))
        case Action.MEMBER_REMOVED | Action.MEMBER_LEFT:
            return MemberRemoved(MemberChangedPayload(row.chat_id, subject, row.detail, row.seq))
        case Action.ADMIN_GRANTED | Action.ADMIN_REVOKED:
            granted = row.action is Action.ADMIN_GRANTED
            return ChatUpdated(
                ChatUpdatedPayload(row.chat_id, row.seq, row.created_at, user_id=subject, is_admin=granted)
            )
        case _:
            return None
