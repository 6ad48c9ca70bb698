"""Accounts: register, log in and out, renew a token."""

from __future__ import annotations

import logging
from datetime import timedelta

from msgspec import Struct

from chatapp.auth.clock import utc_now
from chatapp.auth.passwords import Passwords
from chatapp.auth.principal import Principal
from chatapp.auth.tokens import Tokens
from chatapp.errors import InvalidCredentials, InvalidToken, Suspended, Unavailable
from chatapp.protocol.ids import SessionId
from chatapp.protocol.text import is_storable
from chatapp.protocol.views import Profile
from chatapp.services.fields import PASSWORD_MAX, Fields
from chatapp.services.revoking import Revoking
from chatapp.services.sessions import Sessions
from chatapp.storage import sessions as session_statements
from chatapp.storage import users as statements
from chatapp.storage.engine import Database
from chatapp.storage.sessions import Origin

_log = logging.getLogger(__name__)

REFRESH_GRACE = timedelta(seconds=60)
"""How long a token that was renewed stays valid, for requests that are under way with it."""

_NOWHERE = Origin()


class SignedIn(Struct, frozen=True):
    """A token and whose it is."""

    token: str
    user: Profile


class Accounts:
    """Everything may raise ``Unavailable`` (PostgreSQL is away) and, where passwords are hashed, ``Overloaded``."""

    def __init__(
        self, database: Database, passwords: Passwords, tokens: Tokens, revoking: Revoking, sessions: Sessions
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._tokens = tokens
        self._revoking = revoking
        self._sessions = sessions

    async def register(
        self, username: str, password: str, display_name: str = "", origin: Origin = _NOWHERE
    ) -> SignedIn:
        """Make an account, and its first session.

        Raises ``ValidationFailed``, or ``UsernameTaken`` without regard to case.
        """
        fields = Fields()
        username = fields.username(username)
        password = fields.password(password)
        display_name = fields.display_name(display_name)
        fields.done()
        profile, session_id = await statements.register(
            self._database,
            username,
            await self._passwords.hash(password),
            display_name,
            origin,
            expires_at=utc_now() + self._sessions.lifetime,
        )
        return self._signed_in(profile, 0, session_id)

    async def login(self, username: str, password: str, origin: Origin = _NOWHERE) -> SignedIn:
        """Give a token for a password, of a new session.

        Raises ``InvalidCredentials``, after the same time for whatever reason; with the right password ``Suspended``.
        """
        username = username.strip()
        if not is_storable(username) or not is_storable(password) or len(password) > PASSWORD_MAX:
            raise InvalidCredentials
        found = await statements.credentials(self._database, username)
        stored = None if found is None else found.password
        if not await self._passwords.verify(stored, password) or found is None:
            raise InvalidCredentials
        if found.suspended:
            raise Suspended
        await self._rehash_if_needed(found, password)
        return self._signed_in(found.profile, found.generation, await self._sessions.start(found.profile.id, origin))

    async def logout(self, actor: Principal) -> None:
        """End this token and its session, at every replica and for good."""
        async with self._database.begin() as connection:
            expires_at = None
            if actor.session_id is not None:
                expires_at = await session_statements.end(connection, actor.user_id, actor.session_id)
            row = await self._revoking.write_token(connection, actor, session_expires_at=expires_at)
        self._revoking.tell(row)

    async def refresh(self, actor: Principal, origin: Origin = _NOWHERE) -> str:
        """Give a new token of the same session; the old one ends ``REFRESH_GRACE`` later.

        A token of before there were sessions begins one. Raises ``InvalidToken`` for a deleted user, and for a token
        or session that was just ended elsewhere.
        """
        generation = await statements.generation(self._database, actor.user_id)
        if generation is None:
            raise InvalidToken
        if generation > actor.generation and not await self._revoking.was_spared(actor):
            raise InvalidToken
        session_id = actor.session_id or await self._sessions.start(actor.user_id, origin)
        async with self._database.begin() as connection:
            if not await session_statements.renew(
                connection, actor.user_id, session_id, origin, expires_at=utc_now() + self._sessions.lifetime
            ):
                raise InvalidToken
            row = await self._revoking.write_token(connection, actor, delay=REFRESH_GRACE)
        self._revoking.tell(row)
        token, _ = self._tokens.issue(actor.user_id, actor.username, generation, session_id)
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

    def _signed_in(self, profile: Profile, generation: int, session_id: SessionId) -> SignedIn:
        token, _ = self._tokens.issue(profile.id, profile.username, generation, session_id)
        return SignedIn(token, profile)
