"""Presence as this replica's clients were told it: changes go to who follows a chat of the user, and nowhere else.

What is known here is what was told here. So whatever gets lost, is dropped or comes twice on the way, comparing it with
Redis (``gateway/roll_call.py``) finds exactly what is still to be told.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from datetime import UTC, datetime

from msgspec import Struct

from chatapp.errors import Malformed, Unavailable
from chatapp.gateway.connection import Connection
from chatapp.gateway.hub import Hub
from chatapp.gateway.online import UserSet
from chatapp.gateway.transport import Burst
from chatapp.protocol import events
from chatapp.protocol.events import PresencePayload, encode_event
from chatapp.protocol.ids import UserId
from chatapp.protocol.presence import Change, decode_changes
from chatapp.services.presence import Audiences

_log = logging.getLogger(__name__)

TELL_S = 0.1
WRITES_AT_ONCE = 1000
"""Events written to sockets in each ``TELL_S``: a few milliseconds of the loop, so that messages do not wait."""
WAITING_LIMIT = 20_000


class PresenceStats(Struct):
    """Counters since the start, for metrics."""

    heard: int = 0
    told: int = 0
    """Events written to sockets."""
    dropped: int = 0
    """Changes that were not told because too many waited: the comparison finds them later."""
    malformed: int = 0


class Presence:
    """One for each replica; ``run`` is its task."""

    def __init__(self, hub: Hub, audiences: Audiences) -> None:
        self._hub = hub
        self._audiences = audiences
        self._online: UserSet | None = None
        self._waiting: dict[UserId, Change] = {}
        self._heard_at: dict[UserId, float] = {}
        """Of users who changed lately: when, so that what overtook it is not taken for news."""
        self.stats = PresenceStats()

    @property
    def online(self) -> UserSet | None:
        """Who is online, as it was told here; None before it is known."""
        return self._online

    def begin(self, online: UserSet) -> None:
        """Who is online at the start. Nobody is told."""
        self._online = online

    # -- changes --------------------------------------------------------------------------------------------------

    def hear(self, payload: bytes) -> None:
        """Take in what a replica announced. What is unreadable is logged and dropped."""
        try:
            changes = decode_changes(payload)
        except Malformed:
            self.stats.malformed += 1
            _log.warning("an unreadable payload came on the topic of presence")
            return
        for change in changes:
            self.offer(change)

    def offer(self, change: Change) -> None:
        """Tell this soon, unless it is known, or something later is."""
        self.stats.heard += 1
        if self._heard_at.get(change.user_id, 0.0) > change.at:
            return
        if len(self._waiting) >= WAITING_LIMIT and change.user_id not in self._waiting:
            self.stats.dropped += 1
            return
        self._heard_at[change.user_id] = change.at
        self._waiting[change.user_id] = change

    def forget_before(self, at: float) -> None:
        """No change from before this time can come any more."""
        self._heard_at = {user_id: heard for user_id, heard in self._heard_at.items() if heard >= at}

    async def run(self) -> None:
        """Tell, for as long as the replica lives."""
        while True:
            await asyncio.sleep(TELL_S)
            try:
                await self.tell()
            except Exception:  # noqa: BLE001 (the loop outlives its failures)
                _log.exception("presence could not be told")

    async def tell(self) -> None:
        """Tell what waits. It pauses after ``WRITES_AT_ONCE``, also within one change."""
        written = 0
        while self._waiting and self._online is not None:
            change = self._waiting.pop(next(iter(self._waiting)))
            if (change.user_id in self._online) == change.online:
                continue
            (self._online.add if change.online else self._online.discard)(change.user_id)
            burst = Burst((encode_event(_event(change.user_id, change.online, change.last_seen)),))
            told: set[Connection] = set()
            for chat_id in change.chat_ids:
                live = self._hub.rooms.get(chat_id)
                for connection in () if live is None else live.audience.everybody():
                    if connection.user_id == change.user_id or connection in told:
                        continue
                    told.add(connection)
                    written += 1
                    if not connection.send(burst):
                        connection.too_slow()
                if written >= WRITES_AT_ONCE:
                    self.stats.told += written
                    written = 0
                    await asyncio.sleep(TELL_S)
        self.stats.told += written

    # -- who asks -------------------------------------------------------------------------------------------------

    async def ask(self, connection: Connection, user_ids: Collection[UserId]) -> None:
        """Write a ``presence`` event for each of those whom the user may know. Raises ``Unavailable``.

        Later changes follow on the same connection, so the two together are the present state.
        """
        known = await self._audiences.known_to(connection.user_id, user_ids)
        online = self._online
        if online is None:
            raise Unavailable("presence is not known yet")
        frames = []
        for user_id, last_seen in sorted(known.items()):
            is_online = user_id in online
            seen = None if last_seen is None else last_seen.timestamp()
            frames.append(encode_event(_event(user_id, is_online, None if is_online else seen)))
        if frames and not connection.send(Burst(frames)):
            connection.too_slow()


def _event(user_id: UserId, online: bool, last_seen: float | None) -> events.Presence:
    seen = None if last_seen is None else datetime.fromtimestamp(last_seen, UTC)
    return events.Presence(PresencePayload(user_id, "online" if online else "offline", seen))
