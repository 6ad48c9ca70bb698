"""What a session tells beside the events of the chats: how it is connected, and whether anything was missed."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from chatapp.protocol.events import (
    ChatEvent,
    ChatUpdated,
    MemberAdded,
    MemberRemoved,
    MessageDeleted,
    MessageSent,
    MessageUpdated,
    System,
)
from chatapp.protocol.ids import ChatId, ConnectionId, Seq, UserId


class Connected(Struct, frozen=True):
    """A replica answers. What was missed comes next, then ``CaughtUp``. ``positions``: where each chat goes on."""

    url: str
    connection_id: ConnectionId
    user_id: UserId
    epoch: str
    positions: Mapping[ChatId, Seq]


class CaughtUp(Struct, frozen=True):
    """All up to ``positions`` was told, ``missed`` messages of it since ``Connected``; from here on it is live."""

    missed: int
    positions: Mapping[ChatId, Seq]


class Reconnecting(Struct, frozen=True):
    """There is no connection; the next attempt is in ``in_s`` seconds, at ``url``. ``code``: the close code, if any."""

    in_s: float
    reason: str
    code: int | None
    url: str


class Resynced(Struct, frozen=True):
    """Too much was missed for a replay, so the messages after ``after`` and up to ``upto`` were read over REST.

    They were told as ``MessageSent`` and ``System``, in order. Edits and deletions of messages up to ``after`` that
    were made meanwhile are not among them: who keeps those reads them again. ``upto`` below ``after``: the chat went
    back in time, what came after ``upto`` is void.
    """

    chat_id: ChatId
    after: Seq
    upto: Seq


class StartedOver(Struct, frozen=True):
    """The database went back in time, all positions are void: forget what you keep, and read it again over REST."""

    epoch: str


class NotFollowed(Struct, frozen=True):
    """A chat that was followed and no longer is, because of ``code``, such as ``not_a_member``."""

    chat_id: ChatId
    code: str


ConnectionEvent = Connected | CaughtUp | Reconnecting | Resynced | StartedOver | NotFollowed
SessionEvent = ChatEvent | ConnectionEvent
Positioned = MessageSent | MessageUpdated | MessageDeleted | System | ChatUpdated | MemberAdded | MemberRemoved


def place_of(event: object) -> tuple[ChatId, Seq] | None:
    """The chat and the position of an event; None for one that has none."""
    match event:
        case MessageUpdated(payload=change) | MessageDeleted(payload=change):
            return change.chat_id, change.changed_seq
        case System(payload=sentence):
            return None if sentence.seq is None else (sentence.chat_id, sentence.seq)
        case (
            MessageSent(payload=row) | ChatUpdated(payload=row) | MemberAdded(payload=row) | MemberRemoved(payload=row)
        ):
            return row.chat_id, row.seq
        case _:
            return None
