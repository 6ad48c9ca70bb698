"""The hub: which connections follow which chats here, and the bus's subscriptions that follow from it.

What the bus brings is given to the rooms, and what the rooms let out is written to their followers, as one burst for
each room and read of the bus. A replica subscribes to a chat when its first connection follows it and leaves with the
last (after a short grace, for reconnects).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Sequence

from msgspec import Struct

from chatapp.bus.port import Bus, Delivery
from chatapp.errors import Malformed
from chatapp.gateway.audience import Audience
from chatapp.gateway.connection import Connection
from chatapp.gateway.joinings import Joinings
from chatapp.gateway.passing import Passing, PostgresClock
from chatapp.gateway.room import Room
from chatapp.gateway.transport import Burst
from chatapp.protocol.envelope import Envelope, Kind, unpack
from chatapp.protocol.ids import ChatId, Seq, UserId
from chatapp.protocol.topics import CONTROL, PRESENCE, ROLL_CALL, chat_topic, user_topic
from chatapp.tracing import spans
from chatapp.tracing.port import Tracer

_log = logging.getLogger(__name__)

CORKED_ROOM = 16
"""In rooms with more live followers every burst is written at once."""
JOINED_MEMORY_S = 90.0
"""How long a membership that was told of is known; longer than the repair looks back."""
REMOVED_MEMORY = 1000
"""Removals that a room remembers, against a connection that starts at the same moment."""


class LiveRoom:
    """A chat that is followed here: its order, its audience, and who was removed of late."""

    __slots__ = ("audience", "chat_id", "closed", "opened_at", "opening", "pins", "removed", "room")

    def __init__(self, chat_id: ChatId) -> None:
        self.chat_id = chat_id
        self.room = Room(chat_id)
        self.audience: Audience[Connection] = Audience()
        self.removed: dict[UserId, Seq] = {}
        self.opened_at: float | None = None
        """When it was subscribed and had its position; None: not yet."""
        self.opening: asyncio.Task[None] | None = None
        """Set while the subscription and the first position are waited for."""
        self.pins = 0
        """How many are about to follow it: it stays although nobody does yet."""
        self.closed = False


class HubStats(Struct):
    """Counters since the start, for metrics."""

    envelopes: int = 0
    malformed: int = 0
    deliveries: int = 0
    gaps: int = 0
    """That the bus left."""
    gaps_closed: int = 0
    """That closed because what was missing came late."""
    slow: int = 0


class Hub:
    """One for each replica; a ``BusListener``. Everything here runs on the event loop and none of it waits."""

    def __init__(self, bus: Bus, clock: Callable[[], float], tracer: Tracer | None = None) -> None:
        self._bus = bus
        self._tracer = tracer
        self._clock = clock
        self.rooms: dict[ChatId, LiveRoom] = {}
        self._by_topic: dict[bytes, LiveRoom] = {}
        self.users: dict[UserId, set[Connection]] = {}
        self._user_topics: dict[bytes, UserId] = {}
        self._heard: set[bytes] = set()
        self._subscribing: set[asyncio.Future[bool]] = set()
        self.connections: set[Connection] = set()
        self.joinings = Joinings(clock, JOINED_MEMORY_S)
        self.stats = HubStats()
        self.postgres_clock = PostgresClock()
        self.passing = Passing(self.postgres_clock)
        self.on_control: Callable[[bytes], None] = lambda payload: None
        """Told what came on the control topic."""
        self.on_presence: Callable[[bytes], None] | None = None
        """Told what came on the topic of presence; None: it is not subscribed to."""
        self.on_arrival: Callable[[UserId], None] = lambda user_id: None
        """Told of a user's first connection here."""
        self.on_roll_call: Callable[[bytes], None] = lambda payload: None
        """Told when an operator's command asks who is there."""
        self.on_missing: Callable[[LiveRoom], None] = lambda room: None
        """Told when a room finds a gap."""
        self.on_interrupted: Callable[[], None] = lambda: None
        """Told when the bus may have lost anything."""
        self.on_joined: Callable[[Envelope, Sequence[Connection]], None] = lambda envelope, connections: None
        """Told when a user with connections here became a member of a chat."""

    async def listen(self) -> None:
        """Subscribe to what every replica hears. Call it once the bus has been started."""
        topics = [CONTROL, ROLL_CALL]
        await self.subscribe(topics if self.on_presence is None else [*topics, PRESENCE])

    # -- connections ----------------------------------------------------------------------------------------------

    def add(self, connection: Connection) -> None:
        """A new connection; it follows nothing yet. The user's topic must be subscribed (``hear_users``)."""
        self.connections.add(connection)
        mine = self.users.get(connection.user_id)
        if mine is None:
            mine = self.users[connection.user_id] = set()
            self.on_arrival(connection.user_id)
        mine.add(connection)

    async def hear_users(self, user_ids: Collection[UserId]) -> None:
        """Subscribe to the users' topics, where this replica does not hear them yet."""
        topics = {user_topic(user_id): user_id for user_id in user_ids}
        self._user_topics.update(topics)
        new = [topic for topic in topics if topic not in self._heard]
        if new and await self.subscribe(new):
            # Not those that were left again meanwhile, with the user's last connection.
            self._heard.update(topic for topic in new if topic in self._user_topics)

    async def subscribe(self, topics: Collection[bytes]) -> bool:
        """Whether the bus confirmed the topics. While it is away nobody waits for it: the repair reads instead."""
        work = asyncio.ensure_future(self._bus.subscribe(topics))
        self._subscribing.add(work)
        work.add_done_callback(self._subscribing.discard)
        return await asyncio.shield(work) if self._bus.status.connected else False

    def remove(self, connection: Connection) -> None:
        """The connection has ended: it follows nothing any more."""
        self.connections.discard(connection)
        for chat_id in list(connection.chats):
            self.leave(connection, chat_id)
        mine = self.users.get(connection.user_id)
        if mine is not None:
            mine.discard(connection)
            if not mine:
                del self.users[connection.user_id]

    def of_user(self, user_id: UserId) -> list[Connection]:
        """The user's connections on this replica."""
        return list(self.users.get(user_id, ()))

    # -- rooms ----------------------------------------------------------------------------------------------------

    def room(self, chat_id: ChatId) -> LiveRoom:
        """The chat's room, made if need be. A new one must be opened before anybody follows it."""
        live = self.rooms.get(chat_id)
        if live is None:
            live = self.rooms[chat_id] = LiveRoom(chat_id)
            self._by_topic[chat_topic(chat_id)] = live
        return live

    def was_open(self, chat_id: ChatId, at: float) -> bool:
        """Whether the chat's room was open before ``at`` (by the hub's clock): what ended since then, it knows of."""
        live = self.rooms.get(chat_id)
        return live is not None and live.opened_at is not None and live.opened_at < at

    def now(self) -> float:
        """By the hub's clock, for ``was_open``."""
        return self._clock()

    def open(self, live: LiveRoom, position: Seq) -> None:
        """The room's topic is subscribed and its position was read after that."""
        if live.opened_at is None:
            live.opened_at = self._clock()
        self._deliver(live, live.room.open(position, self._clock()))
        if live.room.has_gap:  # what came before the position was known may have overtaken something
            self.stats.gaps += 1
            self.on_missing(live)

    def filled(self, live: LiveRoom, envelopes: Sequence[Envelope], upto: Seq) -> None:
        """What a room was missing was read from PostgreSQL."""
        self._deliver(live, live.room.filled(envelopes, upto, self._clock()))

    def deleted(self, live: LiveRoom, envelope: Envelope) -> None:
        """The chat was found to be gone: whoever still follows it hears so."""
        if live.audience:
            self._deliver(live, [envelope])

    def leave(self, connection: Connection, chat_id: ChatId) -> None:
        """The connection follows the chat no more."""
        connection.chats.pop(chat_id, None)
        live = self.rooms.get(chat_id)
        if live is not None:
            live.audience.discard(connection)

    def close_room(self, live: LiveRoom) -> None:
        """Forget a room; its topic is the caller's to leave."""
        live.closed = True
        self.rooms.pop(live.chat_id, None)
        self._by_topic.pop(chat_topic(live.chat_id), None)

    async def sweep(self) -> None:
        """Leave the topics of rooms and users that nobody here needs any more. Call it every few seconds."""
        self.joinings.forget()
        topics: list[bytes] = []
        for live in [r for r in self.rooms.values() if not r.audience and not r.pins]:
            self.close_room(live)
            topics.append(chat_topic(live.chat_id))
        for topic, user_id in list(self._user_topics.items()):
            if user_id not in self.users:
                del self._user_topics[topic]
                self._heard.discard(topic)
                topics.append(topic)
        if topics:
            await self._bus.unsubscribe(topics)

    # -- what the bus brings --------------------------------------------------------------------------------------

    def on_deliveries(self, deliveries: Sequence[Delivery]) -> None:
        """See ``BusListener``. Rooms get all of this read's envelopes before anything is written."""
        gathered: dict[LiveRoom, list[Envelope]] = {}
        for delivery in deliveries:
            live = self._by_topic.get(delivery.topic)
            if live is None:
                self._hear_other(delivery)
                continue
            try:
                envelopes = list(unpack(delivery.payload))
            except Malformed:
                self.stats.malformed += 1
                _log.warning("an unreadable payload came on a chat's topic")
                continue
            self.stats.envelopes += len(envelopes)
            gathered.setdefault(live, []).extend(e for e in envelopes if e.chat_id == live.chat_id)
        now = self._clock()
        for live, envelopes in gathered.items():
            had_gap = live.room.has_gap
            ready = live.room.receive(envelopes, now)
            if live.room.has_gap and not had_gap:
                self.stats.gaps += 1
                self.on_missing(live)
            elif had_gap and not live.room.has_gap:
                self.stats.gaps_closed += 1
            if ready:
                self._deliver(live, ready)

    def on_gap(self) -> None:
        """See ``BusListener``."""
        self.on_interrupted()

    def _hear_other(self, delivery: Delivery) -> None:
        if delivery.topic == CONTROL:
            self.on_control(delivery.payload)
            return
        if delivery.topic == ROLL_CALL:
            self.on_roll_call(delivery.payload)
            return
        if delivery.topic == PRESENCE and self.on_presence is not None:
            self.on_presence(delivery.payload)
            return
        user_id = self._user_topics.get(delivery.topic)
        if user_id is None:
            return
        try:
            for envelope in unpack(delivery.payload):
                if envelope.kind is Kind.JOINED:
                    self.joinings.heard(user_id, envelope.chat_id, envelope.position)
                    self.on_joined(envelope, self.of_user(user_id))
        except Malformed:
            self.stats.malformed += 1

    # -- what the rooms let out -----------------------------------------------------------------------------------

    def _deliver(self, live: LiveRoom, ready: Sequence[Envelope]) -> None:
        """Write what a room lets out, stopping at each removal so that the removed hear nothing after it."""
        batch: list[Envelope] = []
        for envelope in ready:
            batch.append(envelope)
            if envelope.kind in (Kind.REMOVED, Kind.CHAT_DELETED):
                self._write(live, batch)
                batch = []
                self._apply(live, envelope)
            elif envelope.kind is Kind.PASSING and envelope.subject:
                batch.pop()
                self._write(live, batch)
                batch = []
                self._write(live, [envelope], but=envelope.subject)
        self._write(live, batch)
        if live.audience.ahead and live.room.position is not None:
            live.audience.catch_up((), live.room.position)

    def _write(self, live: LiveRoom, batch: Sequence[Envelope], but: UserId | None = None) -> None:
        if not batch:
            return
        if self._tracer is None:
            self._hand_over(live, batch, but)
            return
        with spans.deliver(self._tracer, batch, len(live.audience)):
            self._hand_over(live, batch, but)

    def _hand_over(self, live: LiveRoom, batch: Sequence[Envelope], but: UserId | None) -> None:
        audience = live.audience
        if audience.replaying:
            for replay in audience.replaying.values():
                replay.hold(batch)
        burst = burst_of(batch)
        slow: list[Connection] = []
        # In a small room an event may meet its sender's ack on the way out; in a large one waiting for that only costs.
        at_once = len(audience.live) > CORKED_ROOM
        for connection in audience.live:
            if but is not None and connection.user_id == but:
                continue
            if not connection.send(burst, at_once):
                slow.append(connection)
        if audience.live:
            self.stats.deliveries += len(audience.live) * len(burst.texts)
            self.passing.handed_over(burst.texts)
        if audience.ahead:  # only now, for who is reached by this goes live
            for connection, heard in audience.catch_up(batch, batch[-1].position):
                if heard and connection.user_id != but and not connection.send(burst_of(heard)):
                    slow.append(connection)
        for connection in slow:
            self.stats.slow += 1
            connection.too_slow()

    def _apply(self, live: LiveRoom, envelope: Envelope) -> None:
        """A removal or the chat's end: who is concerned follows it no more."""
        if envelope.kind is Kind.REMOVED:
            live.removed.pop(envelope.subject, None)
            live.removed[envelope.subject] = envelope.position
            if len(live.removed) > REMOVED_MEMORY:
                del live.removed[next(iter(live.removed))]
            # Who started at the removal or after it (and was ahead of this replica) follows by a later joining.
            gone: Iterable[Connection] = [
                connection
                for connection in live.audience.of_user(envelope.subject)
                if live.audience.start_of(connection) < envelope.position
            ]
        else:
            gone = live.audience.everybody()
        last_words = burst_of([envelope])
        for connection in list(gone):
            if connection in live.audience.replaying:
                connection.send(last_words)
            self.leave(connection, live.chat_id)


def burst_of(envelopes: Iterable[Envelope]) -> Burst:
    """The envelopes' frames."""
    return Burst([frame for envelope in envelopes for frame in envelope.frames])
