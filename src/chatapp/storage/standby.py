"""Reading from a standby of PostgreSQL without ever showing a client less than it was told before.

A page of history is asked for in two steps. The primary says whether the user is a member and which position the chat
has; that is a look at two rows. The standby gives the page only if it has replayed the chat up to that position, which
its own row of the chat tells in the same snapshot. So a page from the standby is never older than the request, and who
was removed is refused. The search for users has no position: it goes to the standby while that is known to have
everything up to ``lag_s`` ago.

What the standby cannot answer, for whatever reason, the primary does.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

from msgspec import Struct
from sqlalchemy import text

from chatapp.errors import NotAMember, Unavailable
from chatapp.protocol.ids import ChatId, Seq, UserId
from chatapp.protocol.views import Message, Profile
from chatapp.storage import messages, users
from chatapp.storage.engine import Database

_log = logging.getLogger(__name__)

WATCH_S = 1.0
"""How often ``watch`` wants to be called."""
_MARKS = 5000

_POSITION = text(
    """
    SELECT c.last_seq, (SELECT epoch FROM epochs) AS epoch
    FROM chat_members m JOIN chats c ON c.id = m.chat_id WHERE m.chat_id = :chat_id AND m.user_id = :user_id
    """
)
_WRITTEN = text("SELECT CAST(pg_current_wal_lsn() - '0/0' AS bigint) AS lsn, epoch FROM epochs")
# What is no standby (any more) has all that it has written itself.
_REPLAYED = text(
    """
    SELECT CAST(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END - '0/0'
        AS bigint) AS lsn, epoch FROM epochs
    """
)


class StandbyStats(Struct):
    """Counters since the start, for metrics."""

    answered: int = 0
    behind: int = 0
    """Questions that it was too far behind for."""
    failed: int = 0
    """Questions that it did not answer."""


class Standby:
    """One for each replica. ``watch`` must be called every ``WATCH_S``; until it was, the primary answers all."""

    def __init__(self, database: Database, primary: Database, clock: Callable[[], float], lag_s: float) -> None:
        """``clock``: seconds, monotonic."""
        self._database = database
        self._primary = primary
        self._clock = clock
        self._lag_s = lag_s
        self._answers = False
        self._marks: deque[tuple[float, int]] = deque(maxlen=_MARKS)
        """When the primary had written how much; the first is the newest that the standby is known to have."""
        self._has_first = False
        self.stats = StandbyStats()

    @property
    def database(self) -> Database:
        """The standby's own, to be looked at."""
        return self._database

    @property
    def behind_s(self) -> float:
        """It has everything that was committed until so many seconds ago; infinite while nothing is known."""
        return self._clock() - self._marks[0][0] if self._answers and self._has_first else float("inf")

    async def history(
        self,
        chat_id: ChatId,
        user_id: UserId,
        *,
        limit: int,
        offset: int = 0,
        before: Seq | None = None,
        after: Seq | None = None,
    ) -> list[Message] | None:
        """As ``messages.history``, with all that was committed before the call; None: ask the primary.

        Raises ``NotAMember``, and ``Unavailable`` while the primary is away.
        """
        if not self._answers:
            return None
        async with self._primary.read() as connection:
            row = (await connection.execute(_POSITION, {"chat_id": chat_id, "user_id": user_id})).first()
        if row is None:
            raise NotAMember
        try:
            page = await messages.history_at(
                self._database, chat_id, row.last_seq, row.epoch, limit=limit, offset=offset, before=before, after=after
            )
        except Unavailable:
            self._failed()
            return None
        if page is None:
            self.stats.behind += 1
        else:
            self.stats.answered += 1
        return page

    async def users(self, *, limit: int, offset: int, prefix: str = "") -> list[Profile] | None:
        """As ``users.page``, with all that was committed ``lag_s`` ago; None: ask the primary."""
        if self.behind_s > self._lag_s:
            self.stats.behind += self._answers
            return None
        try:
            page = await users.page(self._database, limit=limit, offset=offset, prefix=prefix)
        except Unavailable:
            self._failed()
            return None
        self.stats.answered += 1
        return page

    async def watch(self) -> None:
        """See how far it is, and whether it is a copy of the primary. Raises ``Unavailable`` without a primary."""
        now = self._clock()
        async with self._primary.read() as connection:
            written = (await connection.execute(_WRITTEN)).one()
        self._marks.append((now, written.lsn))
        try:
            async with self._database.read() as connection:
                replayed = (await connection.execute(_REPLAYED)).one()
        except Unavailable:
            self._turn(answers=False)
            return
        # One that another server than our primary writes has positions of its own: see the epoch.
        self._turn(answers=replayed.epoch == written.epoch)
        while len(self._marks) > 1 and self._marks[1][1] <= replayed.lsn:
            self._marks.popleft()
        self._has_first = self._marks[0][1] <= replayed.lsn
        while not self._has_first and len(self._marks) > 1 and now - self._marks[0][0] > self._lag_s:
            self._marks.popleft()

    async def close(self) -> None:
        """Close its connections."""
        await self._database.close()

    def _failed(self) -> None:
        self.stats.failed += 1
        self._turn(answers=False)

    def _turn(self, *, answers: bool) -> None:
        if answers != self._answers:
            self._answers = answers
            _log.warning("the standby is read from" if answers else "the standby is not read from: it does not fit")
