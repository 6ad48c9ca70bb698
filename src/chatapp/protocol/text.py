"""What text may be: no NUL (PostgreSQL's text cannot hold it), no lone surrogates, not only white space."""

from __future__ import annotations

import unicodedata

from chatapp.errors import ValidationFailed

_INVISIBLE = frozenset("\u200b\u200c\u200d\u2060\ufeff\u00ad\u180e\u2061\u2062\u2063\u2064")


def is_blank(text: str) -> bool:
    """Whether there is nothing to see: white space, and characters of no width."""
    stripped = text.strip()
    if stripped and stripped[0] not in _INVISIBLE:
        return False
    return all(c.isspace() or c in _INVISIBLE for c in stripped)


def is_storable(text: str) -> bool:
    """Whether it has neither NUL nor a lone surrogate."""
    if "\0" in text:
        return False
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_content(content: str, limit_bytes: int) -> None:
    """A message's content: 1 to ``limit_bytes`` bytes of UTF-8, not blank, storable. Raises ``ValidationFailed``."""
    if not is_storable(content):
        raise ValidationFailed.of("content", "type", "text without NUL and lone surrogates")
    if len(content) > limit_bytes or len(content.encode()) > limit_bytes:
        raise ValidationFailed.of("content", "max", limit_bytes)
    if is_blank(content):
        raise ValidationFailed.of("content", "required")


def name_key(name: str) -> str:
    """A user name as it is compared: compatibility-normalised and without case."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
