"""The roll call: this replica vouches in Redis for its users, finds who came and who went, and compares.

Everybody here is vouched for in each third of ``offline_after_s``, so a user who changes replicas within that time
was never away, and those of a replica that was killed go offline when nobody vouches for them any more.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence

from msgspec import Struct

from chatapp.auth.revocations import Revocation
from chatapp.bus.presence import VOUCHES_PER_CALL, Beat, PresenceStore
from chatapp.errors import Unavailable
from chatapp.gateway.hub import Hub
from chatapp.gateway.online import UserSet
from chatapp.gateway.presence import Presence
from chatapp.protocol.ids import UserId
from chatapp.protocol.presence import Change
from chatapp.services.presence import ANNOUNCE_S, Announcer, Audiences

_log = logging.getLogger(__name__)

TICK_S = 0.5
ARRIVALS_PER_TICK = 5 * VOUCHES_PER_CALL
REMOVE_PER_TICK = 200
LATE_S = 5.0
"""How late an announcement may come and still be set in its order."""


class RollCallStats(Struct):
    """Counters since the start, for metrics."""

    vouched: int = 0
    compares: int = 0
    differences: int = 0
    """Users whom a comparison found to be otherwise than was told."""
    failures: int = 0
    """Calls that Redis did not answer."""


class RollCall:
    """One for each replica; ``run`` and ``run_comparisons`` are its tasks."""

    def __init__(
        self,
        hub: Hub,
        store: PresenceStore,
        presence: Presence,
        announcer: Announcer,
        audiences: Audiences,
        offline_after_s: float,
    ) -> None:
        self._hub = hub
        self._store = store
        self._presence = presence
        self._announcer = announcer
        self._audiences = audiences
        self._offline_after_s = offline_after_s
        self._tick_s = min(TICK_S, offline_after_s / 12)
        self._arrived: dict[UserId, None] = {}
        self._ended: dict[UserId, None] = {}
        self._round: list[UserId] = []
        self._interrupted = asyncio.Event()
        self._away = False
        self.stats = RollCallStats()

    def arrived(self, user_id: UserId) -> None:
        """The first connection of this user here."""
        self._arrived[user_id] = None

    def revoked(self, revocation: Revocation) -> None:
        """A revocation was heard of. Whose tokens all ended is online no more, without waiting."""
        if revocation.token_id is None and revocation.except_token_id is None:
            self._ended[revocation.user_id] = None

    def interrupted(self) -> None:
        """Announcements may have been lost: compare soon."""
        self._interrupted.set()

    # -- vouching -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Tick, for as long as the replica lives."""
        while True:
            await asyncio.sleep(self._tick_s * random.uniform(0.8, 1.2))  # noqa: S311
            try:
                await self.tick()
            except Unavailable:
                self.stats.failures += 1
                if not self._away:
                    _log.warning("presence is not kept: Redis does not answer, or refuses")
                self._away = True
            except Exception:  # noqa: BLE001 (the loop outlives its failures)
                _log.exception("presence could not be kept")
            else:
                if self._away:
                    self.interrupted()
                self._away = False

    async def tick(self) -> None:
        """Vouch for who arrived and for the next slice of the others. Raises ``Unavailable``; nobody is forgotten."""
        for user_id in list(self._ended):
            if await self._store.end(user_id):
                seen = await self._store.seen([])
                self._announcer.add([Change(user_id, False, seen.at)])
            del self._ended[user_id]
        arrived = list(self._arrived)[:ARRIVALS_PER_TICK]
        if not self._round:
            self._round = list(self._hub.users)
        share = self._tick_s / (self._offline_after_s / 4)
        slice_start = max(0, len(self._round) - int(len(self._hub.users) * share) - 1)
        due = list(dict.fromkeys(arrived + self._round[slice_start:]))
        due = [user_id for user_id in due if self._is_here(user_id)]
        for at in range(0, max(len(due), 1), VOUCHES_PER_CALL):
            chunk = due[at : at + VOUCHES_PER_CALL]
            self._found(await self._store.beat(chunk, remove=0 if at else REMOVE_PER_TICK))
            self.stats.vouched += len(chunk)
        for user_id in arrived:
            self._arrived.pop(user_id, None)
        del self._round[slice_start:]

    def _is_here(self, user_id: UserId) -> bool:
        return any(not connection.closing for connection in self._hub.users.get(user_id, ()))

    def _found(self, beat: Beat) -> None:
        """This replica was the first to find it, so it is this one that tells the others."""
        came = beat.came
        if not beat.settled and (told := self._presence.online) is not None:
            came = [user_id for user_id in came if user_id not in told]  # only Redis had forgotten them
        self._announcer.add([Change(user_id, True, beat.at) for user_id in came])
        self._announcer.add([Change(gone.user_id, False, beat.at, gone.last_seen) for gone in beat.gone])

    # -- comparing ------------------------------------------------------------------------------------------------

    async def run_comparisons(self) -> None:
        """Compare at the start, every ``offline_after_s`` or so, and soon after an interruption."""
        while True:
            try:
                await self.compare()
                wait_s = self._offline_after_s * random.uniform(0.8, 1.2)  # noqa: S311
            except Unavailable:
                wait_s = 1.0
            except Exception:  # noqa: BLE001 (the loop outlives its failures)
                _log.exception("presence could not be compared")
                wait_s = self._offline_after_s
            try:
                async with asyncio.timeout(wait_s):
                    await self._interrupted.wait()
            except TimeoutError:
                continue
            self._interrupted.clear()
            # Not all replicas at once.
            await asyncio.sleep(random.uniform(0, min(2.0, self._offline_after_s / 2)))  # noqa: S311

    async def compare(self) -> None:
        """Tell here what is otherwise in Redis than was told. Raises ``Unavailable``."""
        beat = await self._store.beat([], remove=0)
        truth = UserSet()
        async for users in self._store.everybody():
            truth.update(users)
        self.stats.compares += 1
        told = self._presence.online
        if told is None:
            self._presence.begin(truth)
            return
        self._presence.forget_before(beat.at - LATE_S)
        # Who is missing in an unsettled set may only not have been vouched for yet.
        differing = [*(truth - told), *((told - truth) if beat.settled else ())]
        for at in range(0, len(differing), VOUCHES_PER_CALL):
            if at:
                await asyncio.sleep(ANNOUNCE_S)
            await self._correct(differing[at : at + VOUCHES_PER_CALL], settled=beat.settled)

    async def _correct(self, users: Sequence[UserId], *, settled: bool) -> None:
        """Look again at each, at one moment, for the set was read over a while."""
        seen = await self._store.seen(users)
        told = self._presence.online
        changes = [
            Change(user_id, online, seen.at)
            for user_id, online in zip(users, seen.online, strict=True)
            if told is not None and online != (user_id in told) and (online or settled)
        ]
        self.stats.differences += len(changes)
        for change in await self._audiences.with_chats(changes):
            self._presence.offer(change)
