"""The keys that seal tokens: PASETO v4.local boxes, and which key opens which.

Text and token are one-to-one: a box whose base64url is not the one spelling of its bytes is refused, which the library
alone would accept (the official test vector 4-F-4). Without that, a token could be respelled to slip past anything
that compares texts.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from typing import cast

import pyseto
from msgspec import Struct
from pyseto import Key

from chatapp.errors import InvalidToken

KEY_BYTES = 32
_HEADER = ("v4", "local")


class SigningKey:
    """One symmetric key. It seals (encrypts and authenticates) and opens. Never shows its secret."""

    __slots__ = ("_paseto", "footer", "key_id")

    key_id: str
    """The key's fingerprint, PASERK ``k4.lid.…``, 51 ASCII characters. Says nothing about the secret."""
    footer: str
    """How the footer of this key's tokens reads, in base64url: ``{"kid": key_id}``."""

    def __init__(self, secret: bytes) -> None:
        """``secret``: exactly 32 bytes of randomness, else ``ValueError``."""
        if len(secret) != KEY_BYTES:
            raise ValueError(f"a signing key has exactly {KEY_BYTES} bytes")
        self._paseto = Key.new(4, "local", secret)
        self.key_id = self._paseto.to_paserk_id()
        self.footer = _encode(self._plain_footer())

    def __repr__(self) -> str:
        return f"SigningKey({self.key_id})"

    def seal(self, payload: bytes) -> str:
        """Make a token that only this key opens, with a fresh nonce and this key's id in its footer."""
        return pyseto.encode(self._paseto, payload, self._plain_footer()).decode("ascii")

    def open(self, token: str) -> bytes:
        """Return what was sealed. Raises ``InvalidToken`` unless this key sealed exactly this."""
        try:
            return cast(bytes, pyseto.decode(self._paseto, token).payload)  # bytes, for want of a deserializer
        except Exception:  # noqa: BLE001 - what the libraries below raise for hostile input is not enumerable
            raise InvalidToken from None

    def _plain_footer(self) -> bytes:
        return b'{"kid":"%b"}' % self.key_id.encode("ascii")


class Opened(Struct, frozen=True):
    """What was in a box, and which key had sealed it."""

    payload: bytes
    key_id: str


class Keyring:
    """Seals with the current key, opens with it and with old ones. The keys may be changed while it is in use.

    To change the key, every replica must know the new one before any seals with it: give it as an old one first,
    then swap the two, and drop the former after the longest lifetime of a token (docs/keys.md).
    """

    def __init__(self, current: SigningKey, old: Iterable[SigningKey] = ()) -> None:
        self.change(current, old)

    def __repr__(self) -> str:
        return f"Keyring({', '.join(self.key_ids)})"

    @property
    def current(self) -> SigningKey:
        """The key that seals."""
        return self._current

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The fingerprints of all keys that open, that of the current one first."""
        others = [key.key_id for key in self._by_footer.values() if key.key_id != self._current.key_id]
        return (self._current.key_id, *others)

    def change(self, current: SigningKey, old: Iterable[SigningKey] = ()) -> None:
        """From now on seal with this key, and open with it and these. What others sealed opens no more."""
        self._current = current
        self._by_footer = {key.footer: key for key in (*old, current)}
        self._key_ids = frozenset(key.key_id for key in self._by_footer.values())

    def accepts(self, key_id: str) -> bool:
        """Whether what this key sealed is opened."""
        return key_id in self._key_ids

    def seal(self, payload: bytes) -> str:
        """Make a token of the current key."""
        return self._current.seal(payload)

    def open(self, token: str) -> Opened:
        """Return what one of the keys sealed. Raises ``InvalidToken`` for anything else.

        The footer is compared as text with those of the known keys; nothing in it is parsed before it is authenticated.
        """
        version, purpose, box, footer = _parts(token)
        key = self._by_footer.get(footer)
        if (version, purpose) != _HEADER or key is None:
            raise InvalidToken
        require_canonical(box)
        return Opened(key.open(token), key.key_id)


def require_canonical(text: str) -> None:
    """Raise ``InvalidToken`` unless this is how base64url without padding spells some bytes (RFC 4648 section 3.5)."""
    try:
        spelling = _encode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (binascii.Error, ValueError):
        raise InvalidToken from None
    if spelling != text:
        raise InvalidToken


def _parts(token: str) -> tuple[str, str, str, str]:
    parts = token.split(".", 4)
    if len(parts) != 4:
        raise InvalidToken
    return parts[0], parts[1], parts[2], parts[3]


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
