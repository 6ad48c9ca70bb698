"""Replicas that keep presence, without sockets, clocks, PostgreSQL or Redis: everything happens when it is told to."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Collection, Sequence
from datetime import datetime
from typing import Any, cast

from msgspec.structs import replace

from chatapp.bus.memory import MemoryBus, MemoryHub
from chatapp.bus.presence import Beat, Gone, Seen
from chatapp.errors import Unavailable
from chatapp.gateway.connection import Connection
from chatapp.gateway.hub import Hub
from chatapp.gateway.presence import Presence
from chatapp.gateway.roll_call import RollCall
from chatapp.gateway.transport import Burst
from chatapp.protocol.ids import ChatId, Seq, UserId
from chatapp.protocol.presence import Change, encode_changes
from chatapp.services.presence import Announcer, Audiences


class MemoryPresence:
    """A ``PresenceStore`` with a clock that somebody else sets."""

    def __init__(self, offline_after_s: float) -> None:
        self.now = 1000.0
        self.away = False
        self._offline_after_s = offline_after_s
        self._seen: dict[UserId, float] = {}
        self._beat: float | None = None
        self._since = 0.0

    def flush(self) -> None:
        """As Redis that is started again, and keeps nothing."""
        self._seen.clear()
        self._beat = None

    async def beat(self, users: Sequence[UserId], *, remove: int) -> Beat:
        self._check()
        if self._beat is None or self.now - self._beat > self._offline_after_s / 3:
            self._since = self.now
        self._beat = self.now
        came = [user for user in users if user not in self._seen]
        self._seen.update(dict.fromkeys(users, self.now))
        settled = self.now - self._since >= self._offline_after_s
        late = [u for u, at in self._seen.items() if self.now - at > self._offline_after_s]
        gone = [Gone(user, self._seen.pop(user)) for user in (late[:remove] if settled else ())]
        return Beat(self.now, settled, came, gone)

    async def seen(self, users: Sequence[UserId]) -> Seen:
        self._check()
        return Seen(self.now, [user in self._seen for user in users])

    async def everybody(self) -> AsyncIterator[list[UserId]]:
        self._check()
        yield list(self._seen)

    async def end(self, user_id: UserId) -> bool:
        self._check()
        return self._seen.pop(user_id, None) is not None

    async def close(self) -> None: ...

    def _check(self) -> None:
        if self.away:
            raise Unavailable


class Watcher:
    """A connection, as far as presence is concerned."""

    def __init__(self, user_id: UserId) -> None:
        self.user_id = user_id
        self.closing = False
        self.chats: dict[ChatId, None] = {}
        self.heard: list[dict[str, Any]] = []

    def send(self, burst: Burst, at_once: bool = False) -> bool:
        self.heard += [json.loads(text)["payload"] for text in burst.texts]
        return True

    def too_slow(self) -> None: ...

    @property
    def statuses(self) -> list[tuple[int, str]]:
        return [(event["user_id"], event["status"]) for event in self.heard]


class Memberships:
    """Who is in which chat; stands for ``Audiences``."""

    def __init__(self, chats: dict[int, set[int]]) -> None:
        self.chats = chats

    async def with_chats(self, changes: Sequence[Change]) -> list[Change]:
        return [
            replace(change, chat_ids=tuple(ChatId(c) for c, members in self.chats.items() if change.user_id in members))
            for change in changes
        ]

    async def known_to(self, asker: UserId, users: Collection[UserId]) -> dict[UserId, datetime | None]:
        together = set[int]().union(*(members for members in self.chats.values() if asker in members))
        return {user: None for user in users if user in together}


class PresenceReplica:
    """One replica; what it announces is put into ``wire``."""

    def __init__(self, store: MemoryPresence, memberships: Memberships, offline_after_s: float) -> None:
        self.hub = Hub(MemoryBus(MemoryHub()), lambda: store.now)
        audiences = cast(Audiences, memberships)
        self.announced: list[Change] = []
        self.presence = Presence(self.hub, audiences)
        self.roll_call = RollCall(self.hub, store, self.presence, cast(Announcer, self), audiences, offline_after_s)
        self.hub.on_arrival = self.roll_call.arrived
        self._memberships = memberships

    def add(self, changes: Sequence[Change]) -> None:
        """As ``Announcer.add``."""
        self.announced += changes

    async def take_announced(self) -> bytes:
        """The payload of what waits for being announced."""
        changes, self.announced = self.announced, []
        return encode_changes(await self._memberships.with_chats(changes))

    def connect(self, user_id: int) -> Watcher:
        watcher = Watcher(UserId(user_id))
        self.hub.add(cast(Connection, watcher))
        for chat_id, members in self._memberships.chats.items():
            if user_id in members:
                watcher.chats[ChatId(chat_id)] = None
                self.hub.room(ChatId(chat_id)).audience.live[cast(Connection, watcher)] = Seq(0)
        return watcher

    def disconnect(self, watcher: Watcher) -> None:
        watcher.closing = True
        self.hub.remove(cast(Connection, watcher))

    async def ask(self, watcher: Watcher, *user_ids: int) -> None:
        await self.presence.ask(cast(Connection, watcher), [UserId(user) for user in user_ids])


class PresenceSystem:
    """Several replicas over one store and a bus that loses what it is told to."""

    def __init__(self, count: int, chats: dict[int, set[int]], offline_after_s: float = 30.0) -> None:
        self.offline_after_s = offline_after_s
        self.store = MemoryPresence(offline_after_s)
        self.memberships = Memberships(chats)
        self.replicas = [self.new() for _ in range(count)]
        self.loses = False

    def new(self) -> PresenceReplica:
        return PresenceReplica(self.store, self.memberships, self.offline_after_s)

    async def begin(self) -> None:
        """Until who is missing counts as offline."""
        await self.compare()
        await self.pass_time(self.offline_after_s * 1.2)

    async def pass_time(self, seconds: float) -> None:
        """Let everybody tick, and hear what is announced, for so long."""
        until = self.store.now + seconds
        while self.store.now < until:
            self.store.now += 0.5
            for replica in self.replicas:
                try:
                    await replica.roll_call.tick()
                except Unavailable:
                    continue
            await self.carry()

    async def carry(self) -> None:
        for payload in [await replica.take_announced() for replica in self.replicas]:
            for replica in self.replicas if not self.loses else ():
                replica.presence.hear(payload)
        for replica in self.replicas:
            await replica.presence.tell()

    async def compare(self) -> None:
        for replica in self.replicas:
            try:
                await replica.roll_call.compare()
            except Unavailable:
                continue
            await replica.presence.tell()
