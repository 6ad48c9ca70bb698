"""Accounts: register, log in and out, renew a token."""

from __future__ import annotations

import logging
from datetime import timedelta

from msgspec import Struct

from chatapp.auth.passwords import Passwords
from chatapp.auth.principal import Principal
from chatapp.auth.tokens import Tokens
from chatapp.errors import InvalidCredentials, InvalidToken, Unavailable
from chatapp.protocol.text import is_storable
from chatapp.protocol.views import Profile
from chatapp.services.fields import PASSWORD_MAX, Fields
from chatapp.services.revoking import Revoking
from chatapp.storage import users as statements
from chatapp.storage.engine import Database

_log = logging.getLogger(__name__)

REFRESH_GRACE = timedelta(seconds=60)
"""How long a token that was renewed stays valid, for requests that are under way with it."""


class SignedIn(Struct, frozen=True):
    """A token and whose it is."""

    token: str
    user: Profile


class Accounts:
    """Everything may raise ``Unavailable`` (PostgreSQL is away) and, where passwords are hashed, ``Overloaded``."""

    def __init__(self, database: Database, passwords: Passwords, tokens: Tokens, revoking: Revoking) -> None:
        self._database = database
        self._passwords = passwords
        self._tokens = tokens
        self._revoking = revoking

    async def register(self, username: str, password: str, display_name: str = "") -> SignedIn:
        """Make an account. Raises ``ValidationFailed``, or ``UsernameTaken`` without regard to case."""
        fields = Fields()
        username = fields.username(username)
        password = fields.password(password)
        display_name = fields.display_name(display_name)
        fields.done()
        profile = await statements.insert(self._database, username, await self._passwords.hash(password), display_name)
        return self._signed_in(profile, generation=0)

    async def login(self, username: str, password: str) -> SignedIn:
        """Give a token for a password. Raises ``InvalidCredentials``, after the same time for whatever reason."""
        username = username.strip()
        if not is_storable(username) or not is_storable(password) or len(password) > PASSWORD_MAX:
            raise InvalidCredentials
        found = await statements.credentials(self._database, username)
        stored = None if found is None else found.password
        if not await self._passwords.verify(stored, password) or found is None:
            raise InvalidCredentials
        await self._rehash_if_needed(found, password)
        return self._signed_in(found.profile, found.generation)

    async def logout(self, actor: Principal) -> None:
        """End this token, at every replica and for good."""
        await self._revoking.revoke(actor)

    async def refresh(self, actor: Principal) -> str:
        """Give a new token; the old one ends ``REFRESH_GRACE`` later.

        Raises ``InvalidToken`` for a deleted user, and for a token that a new password has just ended elsewhere.
        """
        generation = await statements.generation(self._database, actor.user_id)
        if generation is None:
            raise InvalidToken
        if generation > actor.generation and not await self._revoking.was_spared(actor):
            raise InvalidToken
        await self._revoking.revoke(actor, REFRESH_GRACE)
        token, _ = self._tokens.issue(actor.user_id, actor.username, generation)
        return token

    async def me(self, actor: Principal) -> Profile:
        """The actor's own profile. Raises ``InvalidToken`` for a deleted user."""
        profile = await statements.get(self._database, actor.user_id)
        if profile is None:
            raise InvalidToken
        return profile

    async def _rehash_if_needed(self, found: statements.Credentials, password: str) -> None:
        if not self._passwords.needs_rehash(found.password):
            return
        try:
            rehashed = await self._passwords.hash(password)
            await statements.rehash(self._database, found.profile.id, found.password, rehashed)
        except Unavailable:
            _log.info("a password was not rehashed; it will be at a later login")

    def _signed_in(self, profile: Profile, generation: int) -> SignedIn:
        token, _ = self._tokens.issue(profile.id, profile.username, generation)
        return SignedIn(token, profile)
