"""Who is asking, as a verified token says it."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from chatapp.protocol.ids import SessionId, TokenId, UserId


class Principal(Struct, frozen=True):
    """The holder of one valid token. ``username`` is the name at the time of issue."""

    user_id: UserId
    username: str
    token_id: TokenId
    """The token's ``jti``: 128 random bits, so no two tokens of any users share one."""
    generation: int
    """The user's token generation at the time of issue. A new password raises it, which ends older tokens."""
    issued_at: datetime
    expires_at: datetime
    """The first moment at which the token is no longer valid."""
    session_id: SessionId | None = None
    """The login that the token comes from. None for tokens of before there were sessions."""
    key_id: str = ""
    """The fingerprint of the key that sealed the token: when the key is no longer accepted, nor is the token."""
