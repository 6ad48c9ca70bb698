"""Everything that can be refused, as one tree.

::

    ChatAppError                     what a client may be told, with a stable ``code``
    ├── Invalid                      the request itself is wrong
    │   ├── ValidationFailed         …in these fields
    │   ├── Malformed                …it cannot even be read
    │   ├── TooLarge                 …it is too long
    │   └── UnsupportedMediaType
    ├── Unauthenticated              no token, a bad one, wrong credentials
    ├── Forbidden                    known, but not allowed
    │   ├── NotAMember
    │   └── Suspended                …the account is shut
    ├── NotFound                     user, chat, member, message, session
    ├── Conflict                     the state of things speaks against it
    │   └── NonceReused
    ├── ResyncRequired               the client is too far behind to be replayed
    ├── RateLimited                  too often
    │   └── TooManyConnections       …or too much of it at the same time
    └── Unavailable                  a part of the service is away; a retry is safe
        ├── Overloaded               …or has too much to do
        ├── ReplicaFull              …or this replica has as many connections as it may
        └── Draining                 …or this replica is about to stop

``error`` is a whole sentence for people and may change; ``code`` is for programs and does not. Neither ever quotes
an exception, SQL, a path or a secret. REST turns these into a status in ``api/errors.py``, sockets into an ``error``
frame in ``gateway/session.py``.
"""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct


class FieldProblem(Struct, frozen=True):
    """What is wrong with one field. ``tag`` is required, min, max, type, exists or oneof; ``value`` the bound."""

    field: str
    tag: str
    value: str = ""


class ChatAppError(Exception):
    """The root. ``error`` is shown to clients as it is."""

    code: ClassVar[str] = "error"

    def __init__(self, error: str, *, code: str | None = None) -> None:
        super().__init__(error)
        self.error = error
        self.code_word = code or type(self).code


class Invalid(ChatAppError):
    """The request is wrong in itself; sending it again will not help."""

    code = "invalid"


class ValidationFailed(Invalid):
    """Fields that do not satisfy their rules, all of them at once."""

    code = "validation_failed"

    def __init__(self, messages: list[FieldProblem]) -> None:
        super().__init__("validation failed")
        self.messages = messages

    @classmethod
    def of(cls, field: str, tag: str, value: object = "") -> ValidationFailed:
        """One field only."""
        return cls([FieldProblem(field, tag, str(value))])


class Malformed(Invalid):
    """Not JSON, not UTF-8, nested beyond reason, or a key given twice."""

    code = "malformed"


class TooLarge(Invalid):
    """A body beyond ``limits.body_bytes``."""

    code = "too_large"


class UnsupportedMediaType(Invalid):
    """A body that is neither JSON nor a form."""

    code = "unsupported_media_type"


class Unauthenticated(ChatAppError):
    """Who asks is not known."""

    code = "unauthenticated"


class InvalidToken(Unauthenticated):
    """A token that is malformed, of another key or purpose, expired or revoked. Which of them is not told."""

    code = "invalid_token"

    def __init__(self) -> None:
        super().__init__("invalid or expired token")


class InvalidCredentials(Unauthenticated):
    """No such user, or another password. Which of them is not told."""

    code = "invalid_credentials"

    def __init__(self) -> None:
        super().__init__("invalid credentials")


class Forbidden(ChatAppError):
    """Who asks is known and may not."""

    code = "forbidden"


class NotAMember(Forbidden):
    """Also when there is no such chat, so that chats cannot be found out."""

    code = "not_a_member"

    def __init__(self) -> None:
        super().__init__("you are not a member of this chat")


class Suspended(Forbidden):
    """An operator has shut the account. Told only to who knows the password."""

    code = "suspended"

    def __init__(self) -> None:
        super().__init__("this account is suspended")


class NotFound(ChatAppError):
    """What was asked for does not exist (any more)."""

    code = "not_found"


class UserNotFound(NotFound):
    """No living user has this id."""

    code = "user_not_found"

    def __init__(self) -> None:
        super().__init__("user not found")


class ChatNotFound(NotFound):
    """No chat has this id."""

    code = "chat_not_found"

    def __init__(self) -> None:
        super().__init__("chat not found")


class MemberNotFound(NotFound):
    """The user is not a member of the chat."""

    code = "member_not_found"

    def __init__(self) -> None:
        super().__init__("member not found")


class MessageNotFound(NotFound):
    """No message has this id, or it was deleted."""

    code = "message_not_found"

    def __init__(self) -> None:
        super().__init__("message not found")


class SessionNotFound(NotFound):
    """The user has no session of this id (any more)."""

    code = "session_not_found"

    def __init__(self) -> None:
        super().__init__("session not found")


class Conflict(ChatAppError):
    """The request is right in itself but the present state speaks against it."""

    code = "conflict"


class UsernameTaken(Conflict):
    """A living user has this name, without regard to case."""

    code = "username_taken"

    def __init__(self) -> None:
        super().__init__("username already exists")


class NonceReused(Conflict):
    """The nonce belongs to an earlier message of the sender with other content or in another chat."""

    code = "nonce_reused"

    def __init__(self) -> None:
        super().__init__("this nonce was used for another message")


class ResyncRequired(ChatAppError):
    """Too many rows behind for a replay: page over REST with ``after``, then join again."""

    code = "resync_required"

    def __init__(self) -> None:
        super().__init__("too far behind to replay: read the history with after, then join again")


class RateLimited(ChatAppError):
    """Too often. ``retry_after_s``: seconds until it may succeed."""

    code = "rate_limited"

    def __init__(self, retry_after_s: float) -> None:
        super().__init__("too many requests")
        self.retry_after_s = retry_after_s


class TooManyConnections(RateLimited):
    """The user has ``limits.connections_per_user`` sockets at this replica: close one first."""

    code = "too_many_connections"

    def __init__(self) -> None:
        super().__init__(5.0)
        self.error = "too many connections"


class Unavailable(ChatAppError):
    """A part of the service does not answer. Nothing is known to be done; a retry with the same nonce is safe."""

    code = "unavailable"

    def __init__(self, error: str = "the service is temporarily unavailable", retry_after_s: float = 1.0) -> None:
        super().__init__(error)
        self.retry_after_s = retry_after_s


class Overloaded(Unavailable):
    """A bounded queue is full."""

    code = "overloaded"

    def __init__(self, retry_after_s: float = 1.0) -> None:
        super().__init__("the service is overloaded, try again later", retry_after_s)


class ReplicaFull(Unavailable):
    """This replica has ``limits.connections`` sockets. Another may have room: a load balancer finds it."""

    code = "replica_full"

    def __init__(self, retry_after_s: float) -> None:
        super().__init__("this replica has no room for another connection", retry_after_s)


class Draining(Unavailable):
    """This replica is about to stop and takes no new connections."""

    code = "draining"

    def __init__(self) -> None:
        super().__init__("this replica is draining")
