"""The shapes of answers that no event carries."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from chatapp.protocol.views import Profile


class SignedIn(Struct, frozen=True):
    """Who one is now, and the token that proves it."""

    token: str
    user: Profile

    def __repr__(self) -> str:
        """Without the token: this ends up in logs."""
        return f"SignedIn(user={self.user!r})"


class NewToken(Struct, frozen=True):
    """A token in place of the one that was used."""

    token: str


class LastSeen(Struct, frozen=True):
    """When one was last here."""

    last_seen: datetime


class Health(Struct, frozen=True):
    """``timestamp``: Unix seconds."""

    status: str
    timestamp: int
