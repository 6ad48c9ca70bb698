"""The shapes that REST answers with and events carry. A field with a default is left out when it is empty."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from msgspec import Struct

from chatapp.protocol.ids import ChatId, MessageId, Seq, SessionId, UserId

MessageKind = Literal["text", "system"]


class Profile(Struct, frozen=True, omit_defaults=True):
    """A user as everybody may see it."""

    id: UserId
    username: str
    created_at: datetime
    display_name: str = ""
    last_seen: datetime | None = None


class Chat(Struct, frozen=True):
    """A chat without its people. ``updated_at`` is the time of the last thing that happened in it."""

    id: ChatId
    name: str
    is_group: bool
    creator_id: UserId | None
    """None once the creator's account is gone and nobody was left to inherit the chat."""
    created_at: datetime
    updated_at: datetime
    last_seq: Seq


class Member(Struct, frozen=True):
    """One user's membership in one chat."""

    user_id: UserId
    username: str
    is_admin: bool
    joined_at: datetime


class ChatDetail(Chat, frozen=True, kw_only=True):
    """A chat as one of its members sees it."""

    members: list[Member]
    """At most 100, in the order of joining; empty where the list was asked for without."""
    member_count: int
    unread_count: int
    """Messages of others after ``last_read_seq``; counted up to 1000."""
    last_read_seq: Seq


class Message(Struct, frozen=True, omit_defaults=True):
    """One row of a chat."""

    id: MessageId
    chat_id: ChatId
    seq: Seq
    content: str
    sender_id: UserId | None
    """None when the sender's account is gone, and for system rows without an actor."""
    kind: MessageKind
    is_edited: bool
    created_at: datetime
    updated_at: datetime
    sender: Profile | None = None


class Session(Struct, frozen=True, omit_defaults=True):
    """One login of a user, with the tokens that were renewed from it, as the user sees it."""

    id: SessionId
    created_at: datetime
    last_seen: datetime
    """Of the last request or handshake with one of its tokens, to the minute."""
    expires_at: datetime
    """Unless it is renewed before."""
    current: bool
    """Whether the request that asks belongs to it."""
    address: str = ""
    """Where the login or the last renewal came from."""
    user_agent: str = ""
