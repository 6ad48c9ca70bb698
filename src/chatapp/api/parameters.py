"""What comes in addresses and headers, read strictly: ASCII digits without signs, within their bounds, once."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any
from urllib.parse import parse_qsl

from litestar import Request
from msgspec import Struct

from chatapp.errors import Malformed, ValidationFailed
from chatapp.protocol.ids import MAX_INT64, ChatId, MessageId, Seq, SessionId, UserId
from chatapp.protocol.text import is_storable

LIMIT_DEFAULT, LIMIT_MAX = 50, 100

_DIGITS = re.compile(r"[0-9]{1,19}")
_LONGER_DIGITS = re.compile(r"-?[0-9]+")
_VISIBLE_ASCII = re.compile(r"[\x21-\x7e]{1,64}")


class Page(Struct, frozen=True):
    """Which part of a list."""

    limit: int
    offset: int


def user_id(request: Request[Any, Any, Any], name: str = "user_id") -> UserId:
    """A user's id in the path."""
    return UserId(_path_id(request, name))


def chat_id(request: Request[Any, Any, Any]) -> ChatId:
    """A chat's id in the path."""
    return ChatId(_path_id(request, "chat_id"))


def message_id(request: Request[Any, Any, Any]) -> MessageId:
    """A message's id in the path."""
    return MessageId(_path_id(request, "message_id"))


def session_id(request: Request[Any, Any, Any]) -> SessionId:
    """A session's id in the path."""
    return SessionId(_path_id(request, "session_id"))


class Query:
    """The query of a request. Every method may raise ``ValidationFailed``; making one, ``Malformed``."""

    def __init__(self, request: Request[Any, Any, Any]) -> None:
        try:
            pairs = parse_qsl(
                request.scope["query_string"].decode("utf-8"),
                keep_blank_values=True,
                errors="strict",
                max_num_fields=100,
            )
        except ValueError:
            raise Malformed("the query cannot be read") from None
        self._values = dict(pairs)
        self._times = Counter(name for name, _ in pairs)

    def page(self) -> Page:
        """``limit`` (1 to 100, default 50) and ``offset`` (default 0)."""
        limit = self._number("limit", 1, LIMIT_MAX)
        offset = self._number("offset", 0, MAX_INT64)
        return Page(LIMIT_DEFAULT if limit is None else limit, offset or 0)

    def seq(self, name: str) -> Seq | None:
        """A position; 0 is before the first."""
        number = self._number(name, 0, MAX_INT64)
        return None if number is None else Seq(number)

    def flag(self, name: str, default: bool) -> bool:
        """``true`` or ``1``, ``false`` or ``0``."""
        given = self._one(name)
        if given is None:
            return default
        if given not in ("true", "1", "false", "0"):
            raise ValidationFailed.of(name, "oneof", "true false")
        return given in ("true", "1")

    def text(self, name: str) -> str:
        """Text that PostgreSQL can hold; empty when it is not given."""
        given = self._one(name) or ""
        if not is_storable(given):
            raise ValidationFailed.of(name, "type", "text without NUL")
        return given

    def _number(self, name: str, least: int, most: int) -> int | None:
        given = self._one(name)
        return None if given is None else number(name, given, least, most)

    def _one(self, name: str) -> str | None:
        if self._times[name] > 1:
            raise ValidationFailed.of(name, "max", 1)
        return self._values.get(name)


def idempotency_key(request: Request[Any, Any, Any]) -> str | None:
    """The header ``Idempotency-Key``: 1 to 64 visible ASCII characters. Raises ``ValidationFailed``."""
    given = request.headers.getall("idempotency-key", [])
    if not given:
        return None
    if len(given) > 1 or not _VISIBLE_ASCII.fullmatch(given[0]):
        raise ValidationFailed.of("Idempotency-Key", "type", "1 to 64 visible ASCII characters")
    return given[0]


def number(name: str, given: str, least: int, most: int) -> int:
    """A whole number within bounds, in ASCII digits. Raises ``ValidationFailed``."""
    if _DIGITS.fullmatch(given):
        value = int(given)
        if least <= value <= most:
            return value
        tag, bound = ("min", least) if value < least else ("max", most)
        raise ValidationFailed.of(name, tag, bound)
    if _LONGER_DIGITS.fullmatch(given):
        tag, bound = ("min", least) if given.startswith("-") else ("max", most)
        raise ValidationFailed.of(name, tag, bound)
    raise ValidationFailed.of(name, "type", "a whole number")


def _path_id(request: Request[Any, Any, Any], name: str) -> int:
    return number(name, request.path_params[name], 1, MAX_INT64)
