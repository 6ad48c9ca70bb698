"""Close codes of the socket, by what a client should do next."""

from enum import IntEnum


class CloseCode(IntEnum):
    """Why the server closed a connection (RFC 6455 section 7.4; 4000 to 4999 are the application's own).

    Reconnect at once, with the last position: ``SERVICE_RESTART`` (after the delay that ``going_away`` gave),
    ``NO_HEARTBEAT``, ``TOO_SLOW``. Reconnect later: ``TOO_MANY_ERRORS`` (after a minute), ``TRY_AGAIN_LATER``. Get a
    new token first: ``UNAUTHORISED``. Do not reconnect without a change: ``TOO_LARGE``, ``NOT_UTF8``, ``MALFORMED``,
    ``POLICY``.
    """

    NORMAL = 1000
    UNSUPPORTED = 1003
    """A binary frame: the protocol is JSON text."""
    NOT_UTF8 = 1007
    POLICY = 1008
    TOO_LARGE = 1009
    """A frame over ``limits.frame_bytes``."""
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    """The replica drains."""
    TRY_AGAIN_LATER = 1013
    MALFORMED = 4400
    """What came is beyond mending, such as text that is not JSON again and again."""
    UNAUTHORISED = 4401
    """The token expired or was revoked."""
    NO_HEARTBEAT = 4408
    TOO_SLOW = 4409
    """The client reads too slowly: its backlog passed ``limits.backlog_bytes``."""
    TOO_MANY_ERRORS = 4429
    """Too many errors, or too fast."""
