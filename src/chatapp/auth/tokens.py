"""Tokens: PASETO v4.local with typed claims, issued and verified."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from chatapp.auth.clock import Clock, utc_now
from chatapp.auth.keys import Keyring
from chatapp.auth.principal import Principal
from chatapp.errors import InvalidToken
from chatapp.protocol.ids import MAX_INT64, SessionId, TokenId, UserId

TOKEN_LIMIT_CHARACTERS = 1024
"""Longer text is refused unread. A token with the longest username and ids has 1,015 characters."""
LEEWAY = timedelta(seconds=30)
"""How far ahead the issuing replica's clock may be."""

_AUDIENCE: Final = "chatapp"
_TOKEN_ID_BYTES = 16

_Moment = Annotated[datetime, Meta(tz=True)]


class _Claims(Struct, frozen=True, kw_only=True):
    """What a token holds. The first four are for readers of the original format, the rest registered by PASETO."""

    user_id: Annotated[UserId, Meta(ge=1, le=MAX_INT64)]
    username: str
    issued_at: _Moment
    expire_at: _Moment
    sub: str
    iat: _Moment
    exp: _Moment
    jti: Annotated[TokenId, Meta(min_length=1, max_length=64)]
    aud: Literal["chatapp"]
    gen: Annotated[int, Meta(ge=0, le=MAX_INT64)]
    sid: Annotated[SessionId, Meta(ge=1, le=MAX_INT64)] | UnsetType = UNSET
    nbf: _Moment | UnsetType = UNSET

    def agree(self) -> bool:
        """Whether what is said twice is said alike."""
        return self.sub == str(self.user_id) and self.iat == self.issued_at and self.exp == self.expire_at

    def valid_at(self, now: datetime) -> bool:
        """No leeway at the end: an expired token is expired. Some at the start, for clocks that differ."""
        begins = self.iat if self.nbf is UNSET else max(self.iat, self.nbf)
        return begins <= now + LEEWAY and now < self.exp

    def principal(self, key_id: str) -> Principal:
        session_id = None if self.sid is UNSET else self.sid
        return Principal(self.user_id, self.username, self.jti, self.gen, self.iat, self.exp, session_id, key_id)


class Tokens:
    """Issues tokens and verifies them. Belongs to one event loop; not for threads."""

    def __init__(
        self, keyring: Keyring, lifetime_s: float, clock: Clock = utc_now, *, remembered: int = 10_000
    ) -> None:
        """``lifetime_s``: seconds from issue to expiry. ``remembered``: how many verified tokens are kept (LRU)."""
        if lifetime_s <= 0:
            raise ValueError("a token's lifetime is more than 0 seconds")
        self._keyring = keyring
        self._lifetime = timedelta(seconds=lifetime_s)
        self._clock = clock
        self._verified = _Verified(remembered)
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder(_Claims).decode

    @property
    def lifetime(self) -> timedelta:
        """From issue to expiry."""
        return self._lifetime

    @property
    def keyring(self) -> Keyring:
        """The keys that seal and open."""
        return self._keyring

    def issue(
        self, user_id: UserId, username: str, generation: int, session_id: SessionId | None = None
    ) -> tuple[str, Principal]:
        """Make a token, valid from now for the lifetime; with it comes what verifying it will give.

        ``generation`` is the user's present one. Raises ``ValueError`` for what could not be verified: an id or
        generation outside 64 bits, or a username of some hundred bytes.
        """
        if not (1 <= user_id <= MAX_INT64 and 0 <= generation <= MAX_INT64):
            raise ValueError("a user id or generation is outside its range")
        now = self._clock()
        claims = _Claims(
            user_id=user_id,
            username=username,
            issued_at=now,
            expire_at=now + self._lifetime,
            sub=str(user_id),
            iat=now,
            exp=now + self._lifetime,
            jti=TokenId(secrets.token_urlsafe(_TOKEN_ID_BYTES)),
            aud=_AUDIENCE,
            gen=generation,
            sid=UNSET if session_id is None else session_id,
        )
        token = self._keyring.seal(self._encode(claims))
        if len(token) > TOKEN_LIMIT_CHARACTERS:
            raise ValueError("the username is too long for a token")
        return token, claims.principal(self._keyring.current.key_id)

    def verify(self, token: str) -> Principal:
        """Who holds this token, by its text alone. Raises ``InvalidToken`` for whatever is wrong with it.

        Revocation is *not* checked here: ask ``Revocations.is_revoked`` about the principal, on every use and again
        while a connection lasts. A token verified before is remembered until it expires, so that thousands can come
        back at once without being decrypted again; that says nothing about its having been revoked since.
        """
        if not isinstance(token, str) or len(token) > TOKEN_LIMIT_CHARACTERS or not token.isascii():
            raise InvalidToken
        now = self._clock()
        remembered = self._verified.get(token, now)
        if remembered is not None and self._keyring.accepts(remembered.key_id):
            return remembered
        opened = self._keyring.open(token)
        claims = self._claims(opened.payload)
        if not claims.agree() or not claims.valid_at(now):
            raise InvalidToken
        principal = claims.principal(opened.key_id)
        self._verified.add(token, principal)
        return principal

    def prune(self, is_revoked: Callable[[Principal], bool]) -> None:
        """Forget remembered tokens that have expired or were revoked: refused anyway, they take memory for nothing."""
        self._verified.prune(self._clock(), is_revoked)

    @property
    def remembered(self) -> int:
        """How many verified tokens are remembered."""
        return len(self._verified)

    def _claims(self, payload: bytes) -> _Claims:
        try:
            return self._decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise InvalidToken from None


class _Verified:
    """The tokens verified last, by their exact text. An entry answers only before its token's expiry."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._principals: OrderedDict[str, Principal] = OrderedDict()

    def __len__(self) -> int:
        return len(self._principals)

    def get(self, token: str, now: datetime) -> Principal | None:
        principal = self._principals.get(token)
        if principal is None:
            return None
        if principal.expires_at <= now:
            del self._principals[token]
            return None
        self._principals.move_to_end(token)
        return principal

    def add(self, token: str, principal: Principal) -> None:
        self._principals[token] = principal
        if len(self._principals) > self._limit:
            self._principals.popitem(last=False)

    def prune(self, now: datetime, is_revoked: Callable[[Principal], bool]) -> None:
        for token in [t for t, holder in self._principals.items() if holder.expires_at <= now or is_revoked(holder)]:
            del self._principals[token]
