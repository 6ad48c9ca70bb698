"""A client for Python programs: REST and sockets, typed, over as many reconnections as it takes.

It knows nothing of the service but ``protocol`` and ``errors``, and needs httpx, msgspec and websockets only. The
rules of a session are a state machine without I/O (``machine``, with ``following`` and ``outbox``); ``session`` is the
shell around it. Start with ``Client``.
"""

from chatapp.client.backoff import Timing
from chatapp.client.bookmark import Bookmark
from chatapp.client.client import Client
from chatapp.client.errors import (
    BadAnswer,
    ClientError,
    Conflict,
    Forbidden,
    Invalid,
    LoggedOut,
    NotFound,
    RateLimited,
    Refused,
    SessionClosed,
    Unanswered,
    Unauthenticated,
    Unavailable,
    Unreachable,
)
from chatapp.client.events import (
    CaughtUp,
    Connected,
    NotFollowed,
    Reconnecting,
    Resynced,
    SessionEvent,
    StartedOver,
)
from chatapp.client.session import Session
from chatapp.protocol.events import (
    ChatDeleted,
    ChatUpdated,
    MemberAdded,
    MemberRemoved,
    MessageDeleted,
    MessageSent,
    MessageUpdated,
    NewChat,
    Presence,
    Read,
    System,
    Typing,
)

__all__ = [
    "BadAnswer",
    "Bookmark",
    "CaughtUp",
    "ChatDeleted",
    "ChatUpdated",
    "Client",
    "ClientError",
    "Conflict",
    "Connected",
    "Forbidden",
    "Invalid",
    "LoggedOut",
    "MemberAdded",
    "MemberRemoved",
    "MessageDeleted",
    "MessageSent",
    "MessageUpdated",
    "NewChat",
    "NotFollowed",
    "NotFound",
    "Presence",
    "RateLimited",
    "Read",
    "Reconnecting",
    "Refused",
    "Resynced",
    "Session",
    "SessionClosed",
    "SessionEvent",
    "StartedOver",
    "System",
    "Timing",
    "Typing",
    "Unanswered",
    "Unauthenticated",
    "Unavailable",
    "Unreachable",
]
