"""The 32 bytes that tokens are encrypted with: how they may be written, and which of them nobody should use."""

from __future__ import annotations

import base64
import binascii
from itertools import pairwise

KEY_BYTES = 32
EXPECTED_KEY = "32 bytes: 32 characters, 64 hex digits or base64 (hex: or base64: in front says which)"

# Keys that stand in examples of this application, of the one it follows, and of their libraries.
_KNOWN = frozenset(
    {
        b"12345678901234567890123456789012",
        b"01234567890123456789012345678901",
        b"0123456789abcdef0123456789abcdef",
        b"your-32-character-secret-key!",
        b"your-32-character-secret-key!!!!",
        b"your-32-byte-secret-key-here!!!!",
        b"YELLOW SUBMARINE, BLACK WIZARDRY",
        bytes.fromhex("707172737475767778797a7b7c7d7e7f808182838485868788898a8b8c8d8e8f"),
    }
)
_PLACEHOLDERS = (b"change", b"replace", b"example", b"secret", b"default", b"password", b"your-", b"your_", b"paseto")


class KeyFormatError(ValueError):
    """Not a key at all. ``short``: too few bytes (which outside production is mended by making a key)."""

    def __init__(self, found: str, *, short: bool) -> None:
        super().__init__(found)
        self.found = found
        self.short = short


def decode_key(text: str) -> bytes:
    """The key's 32 bytes. Raises ``KeyFormatError``, which tells the length that was found and no more."""
    if text.startswith("hex:"):
        return _exactly(_from_hex(text.removeprefix("hex:")))
    if text.startswith("base64:"):
        return _exactly(_from_base64(text.removeprefix("base64:")))
    raw = text.encode("utf-8", "surrogatepass")
    if len(raw) == KEY_BYTES:
        return raw
    for decode in (_from_hex, _from_base64):
        try:
            key = decode(text)
        except KeyFormatError:
            continue
        if len(key) == KEY_BYTES:
            return key
    return _exactly(raw)


def weakness_of(key: bytes) -> str | None:
    """Why the key can be guessed, or None when nothing speaks against it. Says nothing that helps to guess it."""
    folded = key.lower()
    if key in _KNOWN or any(word in folded for word in _PLACEHOLDERS):
        return "is one from an example"
    if len(set(key)) < 8 or _repeats(key):
        return "repeats itself"
    if sum(1 for left, right in pairwise(key) if abs(right - left) == 1) > len(key) // 2:
        return "is a row of successive characters"
    return None


def _repeats(key: bytes) -> bool:
    return (key + key).find(key, 1) < len(key)


def _exactly(key: bytes) -> bytes:
    if len(key) != KEY_BYTES:
        raise KeyFormatError(f"{len(key)} bytes", short=len(key) < KEY_BYTES)
    return key


def _from_hex(text: str) -> bytes:
    try:
        return binascii.unhexlify(text.strip())
    except ValueError:
        raise KeyFormatError("what is not hex", short=False) from None


def _from_base64(text: str) -> bytes:
    """Either alphabet, padded or not."""
    folded = text.strip().rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(folded + "=" * (-len(folded) % 4), validate=True)
    except ValueError:
        raise KeyFormatError("what is not base64", short=False) from None
