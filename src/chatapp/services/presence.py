"""Presence: who may know, who is told, and when somebody was last seen."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Sequence
from datetime import UTC, datetime

from msgspec import Struct
from msgspec.structs import replace

from chatapp.errors import Unavailable
from chatapp.protocol.ids import UserId
from chatapp.protocol.presence import CHATS_PER_CHANGE, Change
from chatapp.services.publisher import Publisher
from chatapp.storage import presence as statements
from chatapp.storage.engine import Database

_log = logging.getLogger(__name__)

CHANGES_AT_ONCE = 200
ANNOUNCE_S = 0.25
"""One query and one payload for so many changes in so much time: 800 in a second for each replica."""
WAITING_LIMIT = 20_000
_RETRY_S = 1.0


class AnnouncerStats(Struct):
    """Counters since the start, for metrics."""

    announced: int = 0
    dropped: int = 0
    """Changes that were not told because too many waited: the comparison finds them later."""


class Audiences:
    """Whom presence concerns. Everything may raise ``Unavailable``."""

    def __init__(self, database: Database, group_limit: int) -> None:
        self._database = database
        self._group_limit = group_limit

    async def with_chats(self, changes: Sequence[Change]) -> list[Change]:
        """The same changes, with the chats that they are to be told in."""
        chats = await statements.chats_told(self._database, [change.user_id for change in changes], self._group_limit)
        return [replace(change, chat_ids=chats.get(change.user_id, ())[:CHATS_PER_CHANGE]) for change in changes]

    async def known_to(self, asker: UserId, users: Collection[UserId]) -> dict[UserId, datetime | None]:
        """Those of the users whose presence the asker may know (they share a chat), and when they were last seen."""
        return await statements.known_to(self._database, asker, list(users))


class Announcer:
    """Tells all replicas of changes that this one was the first to find, at a bounded rate. ``run`` is its task."""

    def __init__(self, database: Database, audiences: Audiences, publisher: Publisher) -> None:
        self._database = database
        self._audiences = audiences
        self._publisher = publisher
        self._waiting: dict[UserId, Change] = {}
        self.stats = AnnouncerStats()

    def add(self, changes: Sequence[Change]) -> None:
        """Announce these soon. A later change of the same user replaces the earlier one."""
        for change in changes:
            if len(self._waiting) >= WAITING_LIMIT and change.user_id not in self._waiting:
                self.stats.dropped += 1
            else:
                self._waiting[change.user_id] = change

    async def run(self) -> None:
        """Announce, for as long as the replica lives."""
        while True:
            await asyncio.sleep(ANNOUNCE_S)
            try:
                await self.announce()
            except Unavailable:
                await asyncio.sleep(_RETRY_S)
            except Exception:  # noqa: BLE001 (the loop outlives its failures)
                _log.exception("presence could not be announced")

    async def announce(self) -> None:
        """Announce some of what waits. Raises ``Unavailable``; then it waits on."""
        taken = list(self._waiting.values())[:CHANGES_AT_ONCE]
        if not taken:
            return
        gone = [(change.user_id, _time(change.last_seen)) for change in taken if change.last_seen is not None]
        if gone:
            await statements.touch(self._database, gone)
        self._publisher.presence(await self._audiences.with_chats(taken))
        self.stats.announced += len(taken)
        for change in taken:
            if self._waiting.get(change.user_id) is change:
                del self._waiting[change.user_id]


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
