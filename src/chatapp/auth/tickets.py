"""Tickets: what a token's holder may put into the address of one socket, once, within half a minute.

A ticket carries all that it is good for, sealed as a token is but of another shape, so that neither passes for the
other. Nothing about it is kept until it is used; that it is used only once is for its reader to see to.
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from chatapp.auth.clock import Clock, utc_now
from chatapp.auth.keys import Keyring
from chatapp.auth.principal import Principal
from chatapp.auth.tokens import LEEWAY, TOKEN_LIMIT_CHARACTERS
from chatapp.errors import InvalidToken
from chatapp.protocol.ids import MAX_INT64, SessionId, TokenId, UserId

TICKET_LIFETIME_S = 30

_PURPOSE: Final = "chatapp socket ticket"
_TICKET_ID_BYTES = 16

_Moment = Annotated[datetime, Meta(tz=True)]
_TokenId = Annotated[TokenId, Meta(min_length=1, max_length=64)]


class _Claims(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """An array, where a token holds an object."""

    purpose: Literal["chatapp socket ticket"]
    ticket_id: _TokenId
    issued_at: _Moment
    expires_at: _Moment
    user_id: Annotated[UserId, Meta(ge=1, le=MAX_INT64)]
    username: str
    token_id: _TokenId
    generation: Annotated[int, Meta(ge=0, le=MAX_INT64)]
    token_issued_at: _Moment
    token_expires_at: _Moment
    session_id: Annotated[SessionId, Meta(ge=1, le=MAX_INT64)] | None
    key_id: Annotated[str, Meta(max_length=64)]


class Ticket(Struct, frozen=True):
    """A ticket that is in order."""

    ticket_id: TokenId
    """128 random bits. Whoever accepts the ticket must be the first to see it."""
    principal: Principal
    """Of the token that the ticket was bought with: it ends when that does."""


class Tickets:
    """Issues tickets and reads them. Belongs to one event loop; not for threads."""

    def __init__(self, keyring: Keyring, clock: Clock = utc_now) -> None:
        self._keyring = keyring
        self._clock = clock
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder(_Claims).decode

    def issue(self, principal: Principal) -> str:
        """Make a ticket for the holder of a valid token, for ``TICKET_LIFETIME_S`` from now. Under 1 KiB, ASCII."""
        now = self._clock()
        claims = _Claims(
            purpose=_PURPOSE,
            ticket_id=TokenId(secrets.token_urlsafe(_TICKET_ID_BYTES)),
            issued_at=now,
            expires_at=now + timedelta(seconds=TICKET_LIFETIME_S),
            user_id=principal.user_id,
            username=principal.username,
            token_id=principal.token_id,
            generation=principal.generation,
            token_issued_at=principal.issued_at,
            token_expires_at=principal.expires_at,
            session_id=principal.session_id,
            key_id=principal.key_id,
        )
        return self._keyring.seal(self._encode(claims))

    def open(self, ticket: str) -> Ticket:
        """What the ticket is good for. Raises ``InvalidToken`` for whatever is wrong with it.

        Neither revocation nor whether it was used before is checked here.
        """
        if len(ticket) > TOKEN_LIMIT_CHARACTERS or not ticket.isascii():
            raise InvalidToken
        payload = self._keyring.open(ticket).payload
        try:
            claims = self._decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise InvalidToken from None
        now = self._clock()
        if claims.issued_at > now + LEEWAY or min(claims.expires_at, claims.token_expires_at) <= now:
            raise InvalidToken
        return Ticket(
            claims.ticket_id,
            Principal(
                claims.user_id,
                claims.username,
                claims.token_id,
                claims.generation,
                claims.token_issued_at,
                claims.token_expires_at,
                claims.session_id,
                claims.key_id,
            ),
        )
