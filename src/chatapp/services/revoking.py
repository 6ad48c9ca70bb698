"""Ending tokens before their time, at every replica: written down, applied here, told to the others.

The bus makes it fast; polling the rows makes it certain, also while Redis is away.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from chatapp.auth.principal import Principal
from chatapp.auth.revocations import Revocation, Revocations, decode, encode
from chatapp.errors import InvalidToken, Malformed
from chatapp.protocol.ids import SessionId, TokenId, UserId
from chatapp.services.publisher import Publisher
from chatapp.storage import revocations as statements
from chatapp.storage.engine import Database
from chatapp.storage.revocations import RevocationRow

_log = logging.getLogger(__name__)

POLL_WINDOW = timedelta(seconds=60)
"""How far back a poll reads: longer than a transaction may last."""
_NOW = timedelta(0)

Subscriber = Callable[[Revocation], None]


class Revoking:
    """One for each replica. Call ``load`` at the start, ``poll`` every second and ``prune`` every minute or so."""

    def __init__(self, database: Database, revocations: Revocations, publisher: Publisher) -> None:
        self._database = database
        self._revocations = revocations
        self._publisher = publisher
        self._subscribers: list[Subscriber] = []
        self._must_reload = True

    def subscribe(self, subscriber: Subscriber) -> None:
        """Be told of each revocation that is new to this replica, wherever it was made.

        Mind ``effective_at``: it may end a token only later. The subscriber must return soon and not raise.
        """
        self._subscribers.append(subscriber)

    def check(self, principal: Principal) -> None:
        """Raise ``InvalidToken`` when this token was ended."""
        if self._revocations.is_revoked(principal):
            raise InvalidToken

    async def was_spared(self, principal: Principal) -> bool:
        """Whether no revocation by generation ends this token, asked of the database: more certain than ``check``."""
        return await statements.spares(self._database, principal.user_id, principal.token_id, principal.generation)

    async def revoke(self, principal: Principal, delay: timedelta = _NOW) -> None:
        """End this token at all replicas, ``delay`` from now. Raises ``Unavailable``."""
        async with self._database.begin() as connection:
            row = await self.write_token(connection, principal, delay=delay)
        self.tell(row)

    async def write_token(
        self,
        connection: AsyncConnection,
        principal: Principal,
        *,
        delay: timedelta = _NOW,
        session_expires_at: datetime | None = None,
    ) -> RevocationRow:
        """Write, as part of a transaction, that this token ends. Hand it to ``tell`` after the commit.

        With ``session_expires_at`` the other tokens of its session end too, of which the youngest expires then.
        """
        with_session = session_expires_at is not None
        return await statements.end_token(
            connection,
            principal.user_id,
            principal.token_id,
            expires_at=max(principal.expires_at, session_expires_at or principal.expires_at),
            delay=delay,
            session_id=principal.session_id if with_session else None,
        )

    async def write_session(
        self, connection: AsyncConnection, user_id: UserId, session_id: SessionId, *, expires_at: datetime
    ) -> RevocationRow:
        """Write, as part of a transaction, that a session ends. Hand it to ``tell`` after the commit.

        ``expires_at``: when the youngest of its tokens expires by itself.
        """
        return await statements.end_session(connection, user_id, session_id, expires_at=expires_at)

    async def write_generations(
        self,
        connection: AsyncConnection,
        user_id: UserId,
        min_generation: int,
        *,
        expires_at: datetime,
        except_token_id: TokenId | None = None,
    ) -> RevocationRow:
        """Write, as part of a transaction, that tokens of lower generations end. Hand it to ``tell`` after the commit.

        ``expires_at``: when the youngest of them expires by itself.
        """
        return await statements.end_generations(
            connection, user_id, min_generation, expires_at=expires_at, except_token_id=except_token_id
        )

    def tell(self, row: RevocationRow) -> None:
        """Apply a committed row here and tell the other replicas."""
        revocation = _revocation(row)
        self._apply(revocation)
        self._publisher.control(encode(revocation))

    def hear(self, payload: bytes) -> None:
        """Take in what another replica told on the control topic. What is not a revocation is logged and dropped."""
        try:
            revocation = decode(payload)
        except Malformed:
            _log.warning("something else than a revocation came on the control topic")
            return
        self._apply(revocation)

    async def load(self) -> None:
        """Take in all that still matter. Raises ``Unavailable``."""
        self._take_in(await statements.unexpired(self._database))
        self._must_reload = False

    async def poll(self) -> None:
        """Take in what was written lately; everything, when an earlier look failed. Raises ``Unavailable``."""
        if self._must_reload:
            await self.load()
            return
        try:
            rows = await statements.recent(self._database, POLL_WINDOW)
        except BaseException:
            self._must_reload = True
            raise
        self._take_in(rows)

    async def prune(self) -> None:
        """Forget what has expired, here and in the database. Raises ``Unavailable``."""
        self._revocations.prune()
        await statements.prune(self._database)

    def _take_in(self, rows: Iterable[RevocationRow]) -> None:
        for row in rows:
            self._apply(_revocation(row))

    def _apply(self, revocation: Revocation) -> None:
        if self._revocations.apply(revocation):
            for subscriber in self._subscribers:
                subscriber(revocation)


def _revocation(row: RevocationRow) -> Revocation:
    return Revocation(
        id=row.id,
        user_id=row.user_id,
        expires_at=row.expires_at,
        token_id=row.token_id,
        session_id=row.session_id,
        min_generation=row.min_generation or 0,
        except_token_id=row.except_token_id,
        effective_at=row.effective_at,
    )
