"""Which tokens were ended before their expiry. In memory alone: whoever hears of a revocation applies it here.

What is ended is the union of what each revocation ends, so they may be applied in any order and any number of times.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from heapq import heappop, heappush
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from chatapp.auth.clock import Clock
from chatapp.auth.principal import Principal
from chatapp.errors import Malformed
from chatapp.protocol.ids import MAX_INT64, SessionId, TokenId, UserId

_ENCODED_LIMIT_BYTES = 1024

_Moment = Annotated[datetime, Meta(tz=True)]
_TokenId = Annotated[TokenId, Meta(min_length=1, max_length=64)]


class Revocation(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The end of one token (``token_id``), of a session's tokens (``session_id``), or with both of either.

    With neither: of all a user's tokens below a generation, but perhaps for one. A replica of a version that knows no
    sessions takes what it understands and ends nothing else.
    """

    id: Annotated[int, Meta(ge=1, le=MAX_INT64)]
    """The database's, ascending."""
    user_id: Annotated[UserId, Meta(ge=1, le=MAX_INT64)]
    expires_at: _Moment
    """After this the revocation is forgotten, so every token it concerns must have expired by then.

    That is the lifetime of a token from now, and a minute more for one that is being issued meanwhile.
    """
    token_id: _TokenId | None = None
    session_id: Annotated[SessionId, Meta(ge=1, le=MAX_INT64)] | None = None
    """All tokens of this session end, at once in any case."""
    min_generation: Annotated[int, Meta(ge=0, le=MAX_INT64)] = 0
    """Without the two: tokens of a lower generation are ended."""
    except_token_id: _TokenId | None = None
    """With ``min_generation``: the one token that this revocation spares. An earlier or later one may still end it."""
    effective_at: _Moment | None = None
    """With ``token_id``: when the token ends. None is at once, whatever a replica's clock says.

    A revocation of all tokens takes effect at once in any case.
    """

    def concerns(self, principal: Principal) -> bool:
        """Whether it ends this token, now or at ``effective_at``.

        For finding the open connections that it closes: all of them belong to ``user_id``.
        """
        if principal.user_id != self.user_id:
            return False
        if self.token_id is not None or self.session_id is not None:
            return principal.token_id == self.token_id or (
                self.session_id is not None and principal.session_id == self.session_id
            )
        return principal.generation < self.min_generation and principal.token_id != self.except_token_id


class Revocations:
    """Every revocation that still matters. Belongs to one event loop; not for threads.

    Holds one entry for each ended token or session and one for each user with a generation ended, until ``prune``
    finds that they have expired: call it every minute or so.
    """

    def __init__(self, clock: Clock, accepts_key: Callable[[str], bool] = lambda _: True) -> None:
        """``accepts_key``: whether tokens of the key with this fingerprint are still good."""
        self._clock = clock
        self._accepts_key = accepts_key
        self._tokens: dict[tuple[UserId, TokenId], _TokenEnd] = {}
        self._sessions: dict[tuple[UserId, SessionId | None], datetime] = {}
        self._users: dict[UserId, _GenerationsEnd] = {}
        self._expiries: list[tuple[datetime, UserId, TokenId]] = []

    def __len__(self) -> int:
        return len(self._tokens) + len(self._sessions) + len(self._users)

    def apply(self, revocation: Revocation) -> bool:
        """Take note. False for a repetition, and whenever nothing ends (or ends earlier) by it.

        After True, close the open connections that it ``concerns``, at its ``effective_at``.
        """
        if revocation.expires_at <= self._clock():
            return False
        if revocation.token_id is None and revocation.session_id is None:
            return self._end_generations(revocation)
        ends_session = revocation.session_id is not None and self._end_session(revocation)
        ends_token = revocation.token_id is not None and self._end_token(revocation, revocation.token_id)
        return ends_session or ends_token

    def is_revoked(self, principal: Principal) -> bool:
        """Whether the principal's token was ended, at this moment. A few look-ups, however much was revoked."""
        if (principal.user_id, principal.session_id) in self._sessions or not self._accepts_key(principal.key_id):
            return True
        token_end = self._tokens.get((principal.user_id, principal.token_id))
        if token_end is not None and (token_end.effective_at is None or token_end.effective_at <= self._clock()):
            return True
        generations_end = self._users.get(principal.user_id)
        return generations_end is not None and generations_end.ends(principal.generation, principal.token_id)

    def prune(self) -> None:
        """Forget what has expired."""
        now = self._clock()
        while self._expiries and self._expiries[0][0] <= now:
            _, user_id, token_id = heappop(self._expiries)
            if token_id == _NO_TOKEN:
                generations_end = self._users.get(user_id)
                if generations_end is not None and generations_end.expires_at <= now:
                    del self._users[user_id]
            else:
                token_end = self._tokens.get((user_id, token_id))
                if token_end is not None and token_end.expires_at <= now:
                    del self._tokens[user_id, token_id]
        for ended in [key for key, expires_at in self._sessions.items() if expires_at <= now]:
            del self._sessions[ended]

    def _end_session(self, revocation: Revocation) -> bool:
        key = (revocation.user_id, revocation.session_id)
        known = self._sessions.get(key)
        self._sessions[key] = revocation.expires_at if known is None else max(known, revocation.expires_at)
        return known is None

    def _end_token(self, revocation: Revocation, token_id: TokenId) -> bool:
        key = (revocation.user_id, token_id)
        known = self._tokens.get(key)
        end = _TokenEnd(revocation.effective_at, revocation.expires_at)
        if known is not None:
            end = _TokenEnd(_earlier(known.effective_at, end.effective_at), max(known.expires_at, end.expires_at))
        if end == known:
            return False
        self._tokens[key] = end
        if known is None or known.expires_at < end.expires_at:
            heappush(self._expiries, (end.expires_at, *key))
        return known is None or known.effective_at != end.effective_at

    def _end_generations(self, revocation: Revocation) -> bool:
        end = self._users.get(revocation.user_id)
        if end is None:
            end = self._users[revocation.user_id] = _GenerationsEnd(revocation.expires_at)
            heappush(self._expiries, (end.expires_at, revocation.user_id, _NO_TOKEN))
        elif end.expires_at < revocation.expires_at:
            end.expires_at = revocation.expires_at
            heappush(self._expiries, (end.expires_at, revocation.user_id, _NO_TOKEN))
        return end.add(revocation.min_generation, revocation.except_token_id)


def encode(revocation: Revocation) -> bytes:
    """For the control topic. JSON, under 1 KiB."""
    return msgspec.json.encode(revocation)


def decode(payload: bytes) -> Revocation:
    """Read what ``encode`` made. Raises ``Malformed`` for anything else: who can publish must not stop a replica."""
    if len(payload) > _ENCODED_LIMIT_BYTES:
        raise Malformed("a revocation is too long")
    try:
        return msgspec.json.decode(payload, type=Revocation)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Malformed("not a revocation") from None


_NO_TOKEN = TokenId("")


class _TokenEnd(Struct, frozen=True):
    effective_at: datetime | None
    expires_at: datetime


class _GenerationsEnd:
    """All of one user's revocations by generation, in constant space.

    Each spares at most one token, so a token is ended by the highest limit among the revocations that do not spare it.
    For all tokens but one that is the highest limit of all; for the token which that one spares, it is the highest
    limit among those that spare another or none. These two numbers and that token are therefore enough.
    """

    __slots__ = ("_highest", "_highest_of_others", "_spared", "expires_at")

    def __init__(self, expires_at: datetime) -> None:
        self.expires_at = expires_at
        self._highest = 0
        self._spared: TokenId | None = None
        self._highest_of_others = 0

    def add(self, limit: int, spared: TokenId | None) -> bool:
        before = (self._highest, self._spared, self._highest_of_others)
        if spared == self._spared:
            self._highest = max(self._highest, limit)
        elif limit > self._highest:
            self._highest, self._spared, self._highest_of_others = limit, spared, self._highest
        else:
            self._highest_of_others = max(self._highest_of_others, limit)
        return before != (self._highest, self._spared, self._highest_of_others)

    def ends(self, generation: int, token_id: TokenId) -> bool:
        return generation < (self._highest_of_others if token_id == self._spared else self._highest)


def _earlier(one: datetime | None, other: datetime | None) -> datetime | None:
    return None if one is None or other is None else min(one, other)
