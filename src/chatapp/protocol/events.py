"""Everything the server says on a socket: one tagged union, ``{"type": …, "payload": {…}}``.

An event is encoded once, where it happens, and the same bytes go to everybody. ``ack``, ``error``, ``pong``, ``ready``
and ``going_away`` answer one connection alone.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from chatapp.errors import FieldProblem
from chatapp.protocol.ids import ChatId, ConnectionId, MessageId, Seq, UserId
from chatapp.protocol.views import Chat, MessageKind

CommandRef = str | int
"""The ``id`` that a client gave to a command; its answer carries the same."""


class _Event(Struct, frozen=True, tag_field="type", omit_defaults=True):
    pass


class _Payload(Struct, frozen=True, omit_defaults=True):
    pass


# -- to everyone who follows a chat; positions: see ``Seq`` -------------------------------------------------------


class MessagePayload(_Payload, frozen=True):
    """A message, in its newest state when it is replayed."""

    message_id: MessageId
    content: str
    sender_id: UserId | None
    username: str
    chat_id: ChatId
    timestamp: datetime
    seq: Seq
    kind: MessageKind


class MessageSent(_Event, frozen=True, tag="message"):
    """Somebody wrote. The sender hears it too."""

    payload: MessagePayload


class MessageUpdatedPayload(_Payload, frozen=True):
    """``seq`` is the message's own, ``changed_seq`` the position of this change."""

    message_id: MessageId
    chat_id: ChatId
    content: str
    seq: Seq
    changed_seq: Seq
    updated_at: datetime


class MessageUpdated(_Event, frozen=True, tag="message_updated"):
    """A message has new content."""

    payload: MessageUpdatedPayload


class MessageDeletedPayload(_Payload, frozen=True):
    """``seq`` is the message's own, ``changed_seq`` the position of the deletion."""

    message_id: MessageId
    chat_id: ChatId
    seq: Seq
    changed_seq: Seq


class MessageDeleted(_Event, frozen=True, tag="message_deleted"):
    """A message's content is erased; its place in the order stays."""

    payload: MessageDeletedPayload


class SystemPayload(_Payload, frozen=True):
    """``seq`` where it is a lasting row of the chat; none for comings and goings of connections."""

    chat_id: ChatId
    message: str
    seq: Seq | None = None


class System(_Event, frozen=True, tag="system"):
    """A sentence about the chat, such as who was added."""

    payload: SystemPayload


class NewChat(_Event, frozen=True, tag="new_chat"):
    """To everyone who became a member of a chat. ``last_seq`` is where the chat stood then: follow it from there."""

    payload: Chat


class ChatUpdatedPayload(_Payload, frozen=True):
    """What is new: the ``name``, or that ``user_id`` now is an admin or no longer one."""

    chat_id: ChatId
    seq: Seq
    updated_at: datetime
    name: str | None = None
    user_id: UserId | None = None
    is_admin: bool | None = None


class ChatUpdated(_Event, frozen=True, tag="chat_updated"):
    """A chat was renamed, or a member's role in it changed."""

    payload: ChatUpdatedPayload


class ChatDeletedPayload(_Payload, frozen=True):
    """The chat that is gone."""

    chat_id: ChatId


class ChatDeleted(_Event, frozen=True, tag="chat_deleted"):
    """A chat and all that was in it is gone."""

    payload: ChatDeletedPayload


class MemberChangedPayload(_Payload, frozen=True):
    """One member, at one position of the chat."""

    chat_id: ChatId
    user_id: UserId
    username: str
    seq: Seq


class MemberAdded(_Event, frozen=True, tag="member_added"):
    """Somebody became a member."""

    payload: MemberChangedPayload


class MemberRemoved(_Event, frozen=True, tag="member_removed"):
    """Somebody is no longer a member. The last that the removed hear of the chat."""

    payload: MemberChangedPayload


class TypingPayload(_Payload, frozen=True):
    """Who is writing where."""

    chat_id: ChatId
    user_id: UserId


class Typing(_Event, frozen=True, tag="typing"):
    """Somebody is writing. Told to the others, kept nowhere."""

    payload: TypingPayload


class ReadPayload(_Payload, frozen=True):
    """How far somebody has read."""

    chat_id: ChatId
    user_id: UserId
    seq: Seq


class Read(_Event, frozen=True, tag="read"):
    """Somebody's read mark moved forward."""

    payload: ReadPayload


class PresencePayload(_Payload, frozen=True):
    """``last_seen``: of who is offline, where it is known. Within a third of ``presence.offline_after_s``."""

    user_id: UserId
    status: Literal["online", "offline"]
    last_seen: datetime | None = None


class Presence(_Event, frozen=True, tag="presence"):
    """Somebody came online, or went offline: was nowhere connected for ``presence.offline_after_s`` seconds.

    Also the answer to the command ``presence``. It may tell what is known already. Nobody hears of themselves.
    """

    payload: PresencePayload


# -- to one connection --------------------------------------------------------------------------------------------


class ChatPosition(_Payload, frozen=True):
    """Where a chat stands, and how far this user has read it."""

    chat_id: ChatId
    last_seq: Seq
    last_read_seq: Seq


class ReadyPayload(_Payload, frozen=True):
    """``epoch``: positions of another epoch are void (the database went back in time)."""

    user_id: UserId
    connection_id: ConnectionId
    server_time: datetime
    heartbeat_s: int
    epoch: str
    chats: list[ChatPosition]
    replica: str = ""
    """Which one it is, as operators call it. Empty from replicas that do not tell."""


class Ready(_Event, frozen=True, tag="ready"):
    """The first frame of every connection."""

    payload: ReadyPayload


class AckPayload(_Payload, frozen=True):
    """``type`` is the command's. What is acked is on disk."""

    type: str
    chat_id: ChatId | None = None
    message_id: MessageId | None = None
    seq: Seq | None = None
    timestamp: datetime | None = None
    nonce: str | None = None


class Ack(_Event, frozen=True, tag="ack"):
    """A command is done."""

    payload: AckPayload
    id: CommandRef | UnsetType = UNSET


class ErrorPayload(_Payload, frozen=True):
    """``code`` is stable. ``retry_after``: seconds, where waiting helps. ``chat_id``: which of many, for ``resume``."""

    code: str
    error: str
    messages: list[FieldProblem] | None = None
    retry_after: float | None = None
    chat_id: ChatId | None = None


class Error(_Event, frozen=True, tag="error"):
    """A command failed; the connection stays open."""

    payload: ErrorPayload
    id: CommandRef | UnsetType = UNSET


class Empty(_Payload, frozen=True):
    """Nothing to say."""


class Pong(_Event, frozen=True, tag="pong"):
    """The answer to ``ping``."""

    payload: Empty = msgspec.field(default_factory=Empty)
    id: CommandRef | UnsetType = UNSET


class GoingAwayPayload(_Payload, frozen=True):
    """When to reconnect: milliseconds from now, different for every connection."""

    reconnect_after_ms: int


class GoingAway(_Event, frozen=True, tag="going_away"):
    """This replica is draining; a close with 1012 follows."""

    payload: GoingAwayPayload


ChatEvent = (
    MessageSent
    | MessageUpdated
    | MessageDeleted
    | System
    | NewChat
    | ChatUpdated
    | ChatDeleted
    | MemberAdded
    | MemberRemoved
    | Typing
    | Read
    | Presence
)
DirectEvent = Ready | Ack | Error | Pong | GoingAway
ServerEvent = ChatEvent | DirectEvent

encode_event = msgspec.json.Encoder().encode
"""The event's JSON: what travels in Redis and on every socket. Holds no line break."""
