"""What can go wrong for a client, as one tree.

::

    ClientError
    ├── Refused                  the service said no, with a stable ``code``
    │   ├── Invalid              the request itself is wrong: sending it again will not help
    │   ├── Unauthenticated      no token, a bad one, wrong credentials
    │   ├── Forbidden            known, but not allowed
    │   ├── NotFound             user, chat, member, message
    │   ├── Conflict             the state of things speaks against it
    │   ├── RateLimited          too often, see ``retry_after_s``
    │   └── Unavailable          a part of the service is away; nothing is known to be done
    ├── Unreachable              none of the addresses answered
    ├── BadAnswer                what answered is not this service
    ├── Unanswered               a command got no answer in time; a repetition with its nonce is safe
    └── SessionClosed            the session is over
        └── LoggedOut            …for the token was refused and could not be renewed
"""

from __future__ import annotations

from collections.abc import Sequence

from chatapp.errors import FieldProblem


class ClientError(Exception):
    """The root."""


class Refused(ClientError):
    """A definite answer. ``error`` is a sentence for people and may change; ``code`` is for programs and does not.

    ``status`` is that of HTTP, None for what a socket said. ``retry_after_s``: seconds until it may succeed, where the
    service knows. ``messages``: what is wrong with which field.
    """

    def __init__(
        self,
        code: str,
        error: str,
        *,
        status: int | None = None,
        retry_after_s: float | None = None,
        messages: Sequence[FieldProblem] = (),
    ) -> None:
        fields = "; ".join(f"{m.field}: {m.tag} {m.value}".rstrip() for m in messages)
        super().__init__(f"{error} ({fields})" if fields else error)
        self.code = code
        self.error = error
        self.status = status
        self.retry_after_s = retry_after_s
        self.messages = tuple(messages)


class Invalid(Refused):
    """400, 413, 415."""


class Unauthenticated(Refused):
    """401."""


class Forbidden(Refused):
    """403."""


class NotFound(Refused):
    """404."""


class Conflict(Refused):
    """409."""


class RateLimited(Refused):
    """429."""


class Unavailable(Refused):
    """500 and above."""


class Unreachable(ClientError):
    """No address could be connected to, or the connection broke before the answer."""


class BadAnswer(ClientError):
    """An answer that this service does not give: a wrong address, or something in between."""


class Unanswered(ClientError):
    """Nothing is known about the command's end. ``nonce`` is that of a message: send it again with the same one."""

    def __init__(self, what: str, nonce: str | None = None) -> None:
        super().__init__(f"{what} was not answered in time")
        self.nonce = nonce


class SessionClosed(ClientError):
    """Nothing more comes, and nothing can be sent."""


class LoggedOut(SessionClosed):
    """The token expired or was revoked, and no new one could be had."""


_BY_STATUS = {401: Unauthenticated, 403: Forbidden, 404: NotFound, 409: Conflict, 429: RateLimited}
_BY_CODE = {
    "validation_failed": Invalid,
    "malformed": Invalid,
    "invalid": Invalid,
    "too_large": Invalid,
    "unknown_type": Invalid,
    "too_many_rooms": Invalid,
    "forbidden": Forbidden,
    "not_a_member": Forbidden,
    "nonce_reused": Conflict,
    "conflict": Conflict,
    "rate_limited": RateLimited,
    "unavailable": Unavailable,
    "overloaded": Unavailable,
    "internal": Unavailable,
}


def kind_of_status(status: int) -> type[Refused]:
    """The class that stands for a status of HTTP."""
    if status >= 500:
        return Unavailable
    return _BY_STATUS.get(status, Invalid if status in (400, 413, 415) else Refused)


def kind_of_code(code: str) -> type[Refused]:
    """The class that stands for a code in an ``error`` frame."""
    return NotFound if code.endswith("_not_found") else _BY_CODE.get(code, Refused)
