"""What operators do to accounts, from outside of the service. All of it is in the audit log.

Works beside running replicas: they learn of ended tokens over the bus, and from PostgreSQL within a second without it.
"""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from chatapp.auth.passwords import Passwords
from chatapp.auth.principal import Principal
from chatapp.auth.tokens import Tokens
from chatapp.errors import Conflict, SessionNotFound, Suspended, UserNotFound
from chatapp.protocol.ids import SessionId, UserId
from chatapp.protocol.views import Profile
from chatapp.services import audit
from chatapp.services.fields import Fields
from chatapp.services.revoking import Revoking
from chatapp.services.sessions import Sessions
from chatapp.storage import sessions as session_statements
from chatapp.storage import users
from chatapp.storage.audit import Actor, Details
from chatapp.storage.engine import Database
from chatapp.storage.sessions import Origin, SessionRow
from chatapp.storage.users import Account


class Operators:
    """Acts in the name of one operator. Everything may raise ``Unavailable``."""

    def __init__(
        self,
        database: Database,
        passwords: Passwords,
        tokens: Tokens,
        revoking: Revoking,
        sessions: Sessions,
        operator: str,
    ) -> None:
        """``operator``: who it is, for the audit log, such as the name on the host."""
        self._database = database
        self._passwords = passwords
        self._tokens = tokens
        self._revoking = revoking
        self._sessions = sessions
        self._actor = Actor("operator", operator)

    async def find(self, name_or_id: str) -> Account:
        """The account of this id (digits) or else name, in any case. Raises ``UserNotFound``."""
        found = None
        if name_or_id.isascii() and name_or_id.isdigit() and len(name_or_id) < 19:
            found = await users.account(self._database, UserId(int(name_or_id)))
        if found is None:
            found = await users.account_named(self._database, name_or_id)
        if found is None:
            raise UserNotFound
        return found

    async def page(self, *, limit: int, offset: int) -> list[Account]:
        """Accounts by name."""
        return await users.accounts(self._database, limit=limit, offset=offset)

    async def create_user(self, username: str, password: str, display_name: str = "") -> Profile:
        """Make an account. Raises ``ValidationFailed``, or ``UsernameTaken`` without regard to case."""
        fields = Fields()
        username = fields.username(username)
        password = fields.password(password)
        display_name = fields.display_name(display_name)
        fields.done()
        hashed = await self._passwords.hash(password)
        async with self._database.begin() as connection:
            profile = await users.insert(connection, username, hashed, display_name)
            await audit.note(
                connection, self._actor, "user.created", audit.user(profile.id), Details(name=profile.username)
            )
        return profile

    async def suspend(self, user_id: UserId) -> None:
        """Shut the account: no login, all tokens end, sockets close with 4401. Chats and messages stay as they are.

        Raises ``UserNotFound``, ``Conflict`` (``already_suspended``).
        """
        async with self._database.begin() as connection:
            generation = await users.suspend(connection, user_id)
            if generation is None:
                await self._say_why(user_id, "the account is suspended already", "already_suspended")
                raise UserNotFound
            row, ended = await self._sessions.end_below(connection, user_id, generation)
            await audit.note(connection, self._actor, "user.suspended", audit.user(user_id), Details(count=ended))
        self._revoking.tell(row)

    async def reinstate(self, user_id: UserId) -> None:
        """Open the account again; the user logs in anew. Raises ``UserNotFound``, ``Conflict`` (``not_suspended``)."""
        async with self._database.begin() as connection:
            if not await users.reinstate(connection, user_id):
                await self._say_why(user_id, "the account is not suspended", "not_suspended")
                raise UserNotFound
            await audit.note(connection, self._actor, "user.reinstated", audit.user(user_id))

    async def set_password(self, user_id: UserId, password: str) -> None:
        """Set another password; all tokens end. Raises ``ValidationFailed``, ``UserNotFound``."""
        fields = Fields()
        password = fields.password(password)
        fields.done()
        hashed = await self._passwords.hash(password)
        async with self._database.begin() as connection:
            changed = await users.new_password(connection, user_id, hashed, None)
            if changed is None:
                raise UserNotFound
            row, ended = await self._sessions.end_below(connection, user_id, changed[1])
            await audit.note(connection, self._actor, "user.password_set", audit.user(user_id), Details(count=ended))
        self._revoking.tell(row)

    async def end_sessions(self, user_id: UserId) -> None:
        """End all tokens of a user. Raises ``UserNotFound``."""
        await self.find(str(user_id))
        async with self._database.begin() as connection:
            row = await self._sessions.end_all(connection, self._actor, user_id)
        self._revoking.tell(row)

    async def sessions_of(self, user_id: UserId) -> list[SessionRow]:
        """A user's sessions, newest first, 1000 at most."""
        return await session_statements.page(self._database, user_id, limit=1000, offset=0)

    async def end_session(self, user_id: UserId, session_id: SessionId) -> None:
        """End one session of a user, with all of its tokens. Raises ``SessionNotFound``."""
        async with self._database.begin() as connection:
            expires_at = await session_statements.end(connection, user_id, session_id)
            if expires_at is None:
                raise SessionNotFound
            row = await self._revoking.write_session(connection, user_id, session_id, expires_at=expires_at)
            await self._note_end(connection, user_id, session_id)
        self._revoking.tell(row)

    async def end_token(self, token: str) -> Principal:
        """End the session that a token is of; without one, the token alone. Says whose it was.

        Raises ``InvalidToken`` when it is none (any more), ``SessionNotFound`` when its session has ended already.
        """
        principal = self._tokens.verify(token)
        if principal.session_id is not None:
            await self.end_session(principal.user_id, principal.session_id)
            return principal
        async with self._database.begin() as connection:
            row = await self._revoking.write_token(connection, principal)
            await self._note_end(connection, principal.user_id, None)
        self._revoking.tell(row)
        return principal

    def read_token(self, token: str) -> Principal:
        """Whose token it is, and until when. Raises ``InvalidToken``."""
        return self._tokens.verify(token)

    async def issue_token(self, user_id: UserId) -> str:
        """Make a token, of a session that the user sees and can end. Raises ``UserNotFound``, ``Suspended``."""
        account = await users.account(self._database, user_id)
        generation = await users.generation(self._database, user_id)
        if account is None or generation is None:
            raise UserNotFound
        if account.suspended_at is not None:
            raise Suspended
        origin = Origin(user_agent=f"operator {self._actor.name}"[:200])
        session_id = await self._sessions.start(user_id, origin, self._tokens.lifetime)
        async with self._database.begin() as connection:
            await audit.note(
                connection, self._actor, "token.issued", audit.user(user_id), Details(session_id=session_id)
            )
        token, _ = self._tokens.issue(user_id, account.profile.username, generation, session_id)
        return token

    async def _note_end(self, connection: AsyncConnection, user_id: UserId, session_id: SessionId | None) -> None:
        details = Details(session_id=session_id)
        await audit.note(connection, self._actor, "session.ended", audit.user(user_id), details)

    async def _say_why(self, user_id: UserId, error: str, code: str) -> None:
        if await users.account(self._database, user_id) is not None:
            raise Conflict(error, code=code)
