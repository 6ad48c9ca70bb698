"""One connection's conversation, without I/O: a frame's text goes in, what to do comes out.

The session parses, answers what needs nobody else (``ping``, what is no valid command), throttles ``typing``, and ends
a client that makes nothing but errors, or goes on when it was told to wait.
"""

from __future__ import annotations

import math
import re
from typing import Literal, Protocol

import msgspec
from msgspec import UNSET, Struct, UnsetType

from chatapp.errors import (
    ChatAppError,
    FieldProblem,
    Malformed,
    RateLimited,
    Unavailable,
    ValidationFailed,
)
from chatapp.protocol.codes import CloseCode
from chatapp.protocol.commands import Command, Ping, SendMessage, TypingNow, is_known_type, parse, reference
from chatapp.protocol.events import CommandRef, Error, ErrorPayload, Pong
from chatapp.protocol.ids import ChatId

TYPING_INTERVAL_S = 3.0
"""``typing`` is told at most this often for each chat."""
ERRORS_BEFORE_CLOSE = 20
"""Errors in a row (no valid command between them) that a connection survives."""
MALFORMED_BEFORE_CLOSE = 3
"""Frames in a row that are not even JSON."""
LIMITED_BEFORE_CLOSE = 300
"""Frames that are answered with ``rate_limited`` within ``LIMITED_WITHIN_S``: more than anybody has under way who stops
at the first."""
LIMITED_WITHIN_S = 60.0


class Pace(Protocol):
    """How fast users may go, over all their connections."""

    def wait_s(self, kind: Literal["send", "command"], user_id: int) -> float:
        """Count one: 0. Or the seconds until it may be repeated. Must not wait for anything."""

    def closed_a_socket(self) -> None:
        """Somebody went on all the same."""


class Do(Struct, frozen=True):
    """Carry out a command."""

    command: Command


class Reply(Struct, frozen=True):
    """Answer this connection."""

    event: Pong | Error


class Close(Struct, frozen=True):
    """End this connection."""

    code: CloseCode
    reason: str


Effect = Do | Reply | Close


class Session:
    """The state of one connection's conversation. ``now``: seconds, monotonic."""

    __slots__ = ("_errors", "_limited", "_limited_since", "_malformed", "_pace", "_typing", "_user_id")

    def __init__(self, pace: Pace | None = None, user_id: int = 0) -> None:
        """Without ``pace`` as fast as the client likes."""
        self._user_id = user_id
        self._pace = pace
        self._limited = 0
        self._limited_since = 0.0
        self._errors = 0
        self._malformed = 0
        self._typing: dict[ChatId, float] | None = None

    def receive(self, text: bytes, now: float) -> list[Effect]:
        """What a text frame asks for."""
        try:
            command = parse(text)
        except Malformed as error:
            self._malformed += 1
            return self._refused(error, UNSET, now)
        except msgspec.ValidationError as error:
            self._malformed = 0
            return self._refused(_explain(error, text), reference(text), now)
        self._errors = self._malformed = 0
        if self._pace is not None:
            wait_s = self._pace.wait_s("send" if isinstance(command, SendMessage) else "command", self._user_id)
            if wait_s:
                return self._too_fast(wait_s, command.id, now)
        if isinstance(command, Ping):
            return [Reply(Pong(id=command.id))]
        if isinstance(command, TypingNow) and not self._may_type(ChatId(command.payload.chat_id), now):
            return []
        return [Do(command)]

    def _too_fast(self, wait_s: float, ref: CommandRef | UnsetType, now: float) -> list[Effect]:
        if now - self._limited_since > LIMITED_WITHIN_S:
            self._limited, self._limited_since = 0, now
        self._limited += 1
        effects: list[Effect] = [Reply(error_event(RateLimited(math.ceil(wait_s * 1000) / 1000), ref))]
        if self._limited >= LIMITED_BEFORE_CLOSE and self._pace is not None:
            self._pace.closed_a_socket()
            effects.append(Close(CloseCode.TOO_MANY_ERRORS, "too fast"))
        return effects

    def _refused(self, error: ChatAppError, ref: CommandRef | UnsetType, now: float) -> list[Effect]:
        wait_s = 0.0 if self._pace is None else self._pace.wait_s("command", self._user_id)
        if wait_s:
            return self._too_fast(wait_s, ref, now)
        self._errors += 1
        effects: list[Effect] = [Reply(error_event(error, ref))]
        if self._malformed >= MALFORMED_BEFORE_CLOSE:
            effects.append(Close(CloseCode.MALFORMED, "not JSON"))
        elif self._errors >= ERRORS_BEFORE_CLOSE:
            effects.append(Close(CloseCode.TOO_MANY_ERRORS, "too many errors"))
        return effects

    def _may_type(self, chat_id: ChatId, now: float) -> bool:
        if self._typing is None:
            self._typing = {}
        if now - self._typing.get(chat_id, float("-inf")) < TYPING_INTERVAL_S:
            return False
        if len(self._typing) > 100:
            self._typing.clear()
        self._typing[chat_id] = now
        return True


class UnknownType(Malformed):
    """A frame whose ``type`` is no command."""

    code = "unknown_type"

    def __init__(self) -> None:
        super().__init__("unknown type of command")


def error_event(error: ChatAppError, ref: CommandRef | UnsetType = UNSET, chat_id: ChatId | None = None) -> Error:
    """The one translation of an error for sockets."""
    messages = error.messages if isinstance(error, ValidationFailed) else None
    retry_after = error.retry_after_s if isinstance(error, RateLimited | Unavailable) else None
    return Error(ErrorPayload(error.code_word, error.error, messages, retry_after, chat_id), id=ref)


_PATH = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
_MISSING = re.compile(r"missing required field `(?P<field>[^`]+)`")


def _explain(error: msgspec.ValidationError, text: bytes) -> ChatAppError:
    """Which field is wrong, and how: msgspec says it in a sentence that ends with the path."""
    sentence = str(error)
    if not is_known_type(text):
        return UnknownType()
    found = _PATH.search(sentence)
    path = found["path"] if found else ""
    missing = _MISSING.search(sentence)
    if missing is not None:
        prefix = f"{path}." if path and path != "payload" else ""
        return ValidationFailed([FieldProblem(prefix + missing["field"], "required")])
    field = path.removeprefix("payload.") or "frame"
    for words, tag in ((">=", "min"), ("<=", "max")):
        if words in sentence:
            bound = re.search(rf"{words} (-?\d+)", sentence)
            return ValidationFailed([FieldProblem(field, tag, bound[1] if bound else "")])
    expected = re.match(r"Expected `([^`]+)`", sentence)
    return ValidationFailed([FieldProblem(field, "type", expected[1] if expected else "")])
