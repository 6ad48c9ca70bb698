"""Sessions of a user: one for each login, with the tokens that are renewed from it. See them, end them."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from chatapp.auth.clock import Clock, utc_now
from chatapp.auth.principal import Principal
from chatapp.errors import InvalidToken, SessionNotFound
from chatapp.protocol.ids import SessionId, UserId
from chatapp.protocol.text import is_storable
from chatapp.protocol.views import Session
from chatapp.services import audit
from chatapp.services.revoking import Revoking
from chatapp.storage import sessions as statements
from chatapp.storage import users
from chatapp.storage.audit import Actor, Details
from chatapp.storage.engine import Database
from chatapp.storage.revocations import RevocationRow
from chatapp.storage.sessions import Origin, SessionRow

ADDRESS_MAX, USER_AGENT_MAX = 64, 200
"""Characters that are kept."""
SEEN_MAX = 50_000
"""How many sessions one replica notes as seen between two writes; more are noted the next time."""

_ISSUE_MARGIN = timedelta(minutes=1)
"""A token may be issued a moment after the revocation was written, with the generation read before."""


class Sessions:
    """One for each replica. Call ``flush`` and ``prune`` every minute or so. Everything may raise ``Unavailable``."""

    def __init__(
        self,
        database: Database,
        revoking: Revoking,
        *,
        token_lifetime_s: float,
        per_user: int = 100,
        clock: Clock = utc_now,
    ) -> None:
        """``per_user``: how many sessions a user may have; with one more the oldest ends."""
        self._database = database
        self._revoking = revoking
        self._lifetime = timedelta(seconds=token_lifetime_s)
        self._per_user = per_user
        self._clock = clock
        self._seen: set[SessionId] = set()

    @property
    def lifetime(self) -> timedelta:
        """Of a session that is not renewed: that of its token."""
        return self._lifetime

    async def start(self, user_id: UserId, origin: Origin, lifetime: timedelta | None = None) -> SessionId:
        """A login succeeded: one row more. ``lifetime``: of its token, when that is shorter than usual."""
        opened = await statements.start(
            self._database,
            user_id,
            origin,
            expires_at=self._clock() + (lifetime or self._lifetime),
            limit=self._per_user,
        )
        for row in opened.ended:
            self._revoking.tell(row)
        return opened.session_id

    async def page(self, actor: Principal, *, limit: int, offset: int) -> list[Session]:
        """The actor's own, newest first."""
        rows = await statements.page(self._database, actor.user_id, limit=limit, offset=offset)
        return [_view(row, actor) for row in rows]

    async def end(self, actor: Principal, session_id: SessionId) -> None:
        """End one of the actor's own: its tokens are refused, its sockets close. Raises ``SessionNotFound``."""
        async with self._database.begin() as connection:
            expires_at = await statements.end(connection, actor.user_id, session_id)
            if expires_at is None:
                raise SessionNotFound
            row = await self._revoking.write_session(connection, actor.user_id, session_id, expires_at=expires_at)
            await audit.note(
                connection, actor, "session.ended", audit.user(actor.user_id), Details(session_id=session_id)
            )
        self._revoking.tell(row)

    async def end_others(self, actor: Principal) -> None:
        """End all tokens of the actor but this one, also those of no session. Raises ``InvalidToken`` when deleted."""
        async with self._database.begin() as connection:
            row = await self.end_all(connection, actor, actor.user_id, spared=actor)
        self._revoking.tell(row)

    async def end_all(
        self,
        connection: AsyncConnection,
        actor: Principal | Actor,
        user_id: UserId,
        *,
        spared: Principal | None = None,
    ) -> RevocationRow:
        """End all of a user's tokens, but perhaps one, as part of a transaction. Hand the row to ``Revoking.tell``.

        By generation, so that a login under way ends too. Raises ``InvalidToken`` without such a user.
        """
        generation = await users.end_tokens(connection, user_id)
        if generation is None:
            raise InvalidToken
        row, ended = await self.end_below(connection, user_id, generation, spared=spared)
        await audit.note(connection, actor, "sessions.ended", audit.user(user_id), Details(count=ended))
        return row

    async def end_below(
        self, connection: AsyncConnection, user_id: UserId, generation: int, *, spared: Principal | None = None
    ) -> tuple[RevocationRow, int]:
        """The user's generation was raised to this: end the tokens of lower ones and remove their sessions.

        As part of a transaction: hand the row to ``Revoking.tell`` after it. With it comes how many sessions ended.
        """
        row = await self._revoking.write_generations(
            connection,
            user_id,
            generation,
            expires_at=self._clock() + self._lifetime + _ISSUE_MARGIN,
            except_token_id=None if spared is None else spared.token_id,
        )
        return row, await statements.end_all(connection, user_id, None if spared is None else spared.session_id)

    def saw(self, principal: Principal) -> None:
        """A request or handshake came with a token of this session. Costs one entry of a set."""
        if principal.session_id is not None and len(self._seen) < SEEN_MAX:
            self._seen.add(principal.session_id)

    async def flush(self) -> None:
        """Write down which sessions were seen since the last time."""
        if self._seen:
            seen, self._seen = self._seen, set()
            await statements.seen(self._database, seen)

    async def prune(self) -> None:
        """Remove those that have expired."""
        await statements.prune(self._database)


def origin(address: str, user_agent: str) -> Origin:
    """Where a request comes from, cut to what is kept."""
    return Origin(_kept(address, ADDRESS_MAX), _kept(user_agent, USER_AGENT_MAX))


def _kept(text: str, limit: int) -> str:
    cut = "".join(character for character in text[: 2 * limit] if character.isprintable())[:limit]
    return cut if is_storable(cut) else ""


def _view(row: SessionRow, asker: Principal) -> Session:
    return Session(
        id=row.id,
        created_at=row.created_at,
        last_seen=row.last_seen,
        expires_at=row.expires_at,
        current=row.id == asker.session_id,
        address=row.origin.address,
        user_agent=row.origin.user_agent,
    )
