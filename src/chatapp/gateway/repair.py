"""Repair: what the bus lost is read from PostgreSQL.

A room that misses something asks after a moment. After an interruption of the bus, and every few seconds, all rooms'
positions are compared with PostgreSQL's in one query, so the last message before a crash is found too; while the bus is
away that happens every second.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from chatapp.bus.port import Bus
from chatapp.errors import ChatAppError, Unavailable
from chatapp.gateway.connection import Connection
from chatapp.gateway.following import Following
from chatapp.gateway.hub import Hub, LiveRoom
from chatapp.protocol.ids import ChatId, UserId
from chatapp.services.leaving import chat_deleted
from chatapp.services.messages import Messages
from chatapp.services.rendering import joined
from chatapp.storage import chats as chat_statements
from chatapp.storage import epochs
from chatapp.storage import members as member_statements
from chatapp.storage.engine import Database
from chatapp.storage.members import Joining

_log = logging.getLogger(__name__)

FILL_CHUNK = 200
"""Events that a room reads at once."""
COMPARE_CHUNK = 5000
"""Chats, or users, that one comparing query asks for."""
FILLS_AT_ONCE = 4
OVERLAP = timedelta(seconds=30)
"""Memberships are asked for from this much before the last look: transactions commit later than they begin."""
START = timedelta(seconds=10)
"""A connection has its ``ready`` after so much; a joining that is later is another than the one that it tells of."""


class RepairStats(Struct):
    """Counters since the start, for metrics."""

    fills: int = 0
    filled: int = 0
    """Events that came from PostgreSQL instead of the bus."""
    compares: int = 0
    closed: int = 0
    """Gaps that closed because they were read."""
    behind: int = 0
    """Rooms that a comparison found behind."""
    failed: int = 0
    """Comparisons that PostgreSQL did not answer."""


class Repair:
    """One for each replica. ``run`` is its task; ``gap`` and ``interrupted`` wake it."""

    def __init__(
        self,
        hub: Hub,
        bus: Bus,
        database: Database,
        messages: Messages,
        following: Following,
        clock: Callable[[], float],
        *,
        gap_wait_s: float,
        interval_s: float,
    ) -> None:
        self._hub = hub
        self._bus = bus
        self._database = database
        self._messages = messages
        self._following = following
        self._clock = clock
        self._gap_wait_s = gap_wait_s
        self._interval_s = interval_s
        self._interrupted = asyncio.Event()
        self._fills: set[asyncio.Task[None]] = set()
        self._at_once = asyncio.Semaphore(FILLS_AT_ONCE)
        self._looked_at: datetime | None = None
        self._suspects: set[tuple[Connection, ChatId]] = set()
        """Connections that lacked a chat of their user's at the last look."""
        self.on_regression: Callable[[], None] = lambda: None
        """Told when PostgreSQL is behind what was delivered: it went back in time."""
        self.stats = RepairStats()

    def gap(self, live: LiveRoom) -> None:
        """A room found a gap: look again when what is missing had its time to come."""
        asyncio.get_running_loop().call_later(self._gap_wait_s, self._look_again, live)

    def interrupted(self) -> None:
        """The bus may have lost anything: compare at once."""
        self._interrupted.set()

    async def run(self) -> None:
        """Compare, for as long as the replica lives."""
        while True:
            interval = self._interval_s if self._bus.status.connected else min(1.0, self._interval_s)
            try:
                async with asyncio.timeout(interval):
                    await self._interrupted.wait()
            except TimeoutError:
                pass
            urgent = self._interrupted.is_set() or not self._bus.status.connected
            self._interrupted.clear()
            try:
                await self._compare(urgent=urgent)
                await self._hub.sweep()
            except Unavailable:
                self.stats.failed += 1
                _log.warning("positions could not be compared: the database is away")
                if urgent:
                    self._interrupted.set()
                    await asyncio.sleep(0.2)
            except Exception:  # noqa: BLE001 (the loop outlives its failures)
                _log.exception("a comparison of positions failed")

    async def close(self) -> None:
        """End what is under way."""
        for task in list(self._fills):
            task.cancel()
        await asyncio.gather(*self._fills, return_exceptions=True)

    async def _compare(self, *, urgent: bool) -> None:
        self.stats.compares += 1
        rooms = [live for live in self._hub.rooms.values() if live.room.position is not None]
        for at in range(0, len(rooms), COMPARE_CHUNK):
            chunk = rooms[at : at + COMPARE_CHUNK]
            before = {live.chat_id: live.room.position or 0 for live in chunk}
            positions = await chat_statements.last_seqs(self._database, [live.chat_id for live in chunk])
            for live in chunk:
                last_seq = positions.get(live.chat_id)
                if last_seq is None:
                    self._hub.deleted(live, chat_deleted(live.chat_id))
                    continue
                if last_seq < before[live.chat_id]:
                    self.on_regression()
                    return
                if last_seq > live.room.highest:
                    self.stats.behind += 1
                # What is on its way now is given its moment, unless the bus is known to have lost something.
                live.room.behind(last_seq, self._clock(), urgent=urgent)
                self._fill_if_missing(live)
                if live.room.has_gap and not live.room.filling:
                    self.gap(live)
        await self._compare_memberships(urgent=urgent)

    async def _compare_memberships(self, *, urgent: bool) -> None:
        """Tell of, and follow, what somebody was added to while the bus was away.

        Who does not follow everything is told too, for ``new_chat`` is how such a client learns what there is to join.
        As with positions, what may be on its way is given its moment, here until the next look.
        """
        clock = self._hub.postgres_clock
        asked = clock.host_clock()
        now = await epochs.now(self._database)
        clock.sample(asked, now, clock.host_clock())
        since = self._looked_at
        self._looked_at = now
        if since is None:
            return
        users: list[UserId] = list(self._hub.users)
        suspects, self._suspects = self._suspects, set()
        for at in range(0, len(users), COMPARE_CHUNK):
            chunk = users[at : at + COMPARE_CHUNK]
            for joining in await member_statements.joined_since(self._database, chunk, since - OVERLAP):
                lacking = [c for c in self._hub.of_user(joining.user_id) if self._lacks(c, joining, now)]
                if not urgent:
                    self._suspects.update((connection, joining.chat_id) for connection in lacking)
                    lacking = [connection for connection in lacking if (connection, joining.chat_id) in suspects]
                if lacking:
                    await self._tell(joining, lacking)

    def _lacks(self, connection: Connection, joining: Joining, now: datetime) -> bool:
        """Whether a connection should follow a chat and does not, or was not told of it."""
        if connection.follows_all:
            return self._following.lacks(connection, joining.chat_id, joining.joined_seq)
        known = self._hub.joinings.knows(joining.user_id, joining.chat_id, joining.joined_seq)
        if known or connection.is_starting:
            return False
        began = now - timedelta(seconds=self._clock() - connection.began)
        was_listed = joining.chat_id in connection.listed and joining.joined_at <= began + START
        return not was_listed

    async def _tell(self, joining: Joining, connections: Sequence[Connection]) -> None:
        chat = await chat_statements.get(self._database, joining.chat_id)
        if chat is None:
            return
        self._hub.joinings.heard(joining.user_id, joining.chat_id, joining.joined_seq)
        self._following.joined(joined(chat, joining.user_id, joining.joined_seq), connections)

    def _look_again(self, live: LiveRoom) -> None:
        self._fill_if_missing(live)
        # A timer may be early by the clock's resolution, and the gap may be a newer one.
        if live.room.has_gap and not live.room.filling and not live.closed:
            self.gap(live)

    def _fill_if_missing(self, live: LiveRoom) -> None:
        if live.closed or live.room.missing(self._clock(), self._gap_wait_s) is None:
            return
        live.room.filling = True
        task = asyncio.get_running_loop().create_task(self._fill(live))
        self._fills.add(task)
        task.add_done_callback(self._fills.discard)

    async def _fill(self, live: LiveRoom) -> None:
        """Read what a room misses, once however many connections wait for it."""
        room = live.room
        try:
            async with self._at_once:
                self.stats.fills += 1
                assert room.position is not None
                known = await chat_statements.last_seqs(self._database, [live.chat_id])
                # What was heard of was committed before, so anything beyond was made up by whoever can publish.
                room.forget_beyond(known.get(live.chat_id, room.position))
                target = room.highest
                while not live.closed and room.position < target:
                    # Every change is told for itself, also of messages that are in the range: those may arrive from the
                    # bus meanwhile, as they were, and who is ahead of the room has them as they were.
                    envelopes, upto = await self._messages.between(
                        live.chat_id, start=target, after=room.position, upto=target, limit=FILL_CHUNK
                    )
                    self.stats.filled += len(envelopes)
                    had_gap = room.has_gap
                    self._hub.filled(live, envelopes, upto)
                    self.stats.closed += had_gap and not room.has_gap
        except ChatAppError:
            _log.warning("a gap could not be read yet", extra={"chat_id": live.chat_id})
        finally:
            room.filling = False
            if room.has_gap and not live.closed:
                self.gap(live)
