"""Following a chat: subscribe, then read the position, then (for who was away) replay, then live.

The order is what makes it complete: the bus has confirmed the subscription before the position is read, so nothing
falls between; the connection is in the room's audience before its replay is read, so nothing falls between that either.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from functools import partial

from msgspec import Struct

from chatapp.errors import ChatAppError, Invalid, NotAMember, ResyncRequired
from chatapp.gateway.audience import Replay
from chatapp.gateway.connection import Connection
from chatapp.gateway.hub import Hub, LiveRoom, burst_of
from chatapp.gateway.transport import Burst
from chatapp.protocol.commands import Resume
from chatapp.protocol.envelope import Envelope
from chatapp.protocol.events import AckPayload, ChatPosition
from chatapp.protocol.ids import ChatId, Seq
from chatapp.protocol.topics import chat_topic
from chatapp.services.messages import Messages
from chatapp.storage import chats as chat_statements
from chatapp.storage import members as member_statements
from chatapp.storage.engine import Database

_log = logging.getLogger(__name__)

CHUNK = 200
"""Events that a replay reads at once."""


class TooManyRooms(Invalid):
    """The connection follows as many chats as it may (``limits.rooms_per_connection``)."""

    code = "too_many_rooms"

    def __init__(self) -> None:
        super().__init__("this connection follows too many chats")


class FollowingStats(Struct):
    """Counters since the start, for metrics."""

    replays: int = 0
    replayed: int = 0
    resyncs: int = 0


class Following:
    """One for each replica."""

    def __init__(
        self, hub: Hub, database: Database, messages: Messages, *, replay_limit: int, rooms_per_connection: int
    ) -> None:
        self._hub = hub
        self._database = database
        self._messages = messages
        self._replay_limit = replay_limit
        self._rooms_per_connection = rooms_per_connection
        self._tasks: set[asyncio.Task[None]] = set()
        self.stats = FollowingStats()

    # -- rooms ----------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def opened(self, chat_ids: Collection[ChatId]) -> AsyncIterator[list[LiveRoom]]:
        """The chats' rooms, subscribed and with their position; they stay while this block lasts.

        The position of a chat that does not exist stays unknown.
        """
        rooms = [self._hub.room(chat_id) for chat_id in chat_ids]
        for live in rooms:
            live.pins += 1
        try:
            new = [live for live in rooms if live.room.position is None and live.opening is None]
            if new:
                opening = asyncio.get_running_loop().create_task(self._open(new))
                for live in new:
                    live.opening = opening
            for opening in {live.opening for live in rooms if live.opening is not None}:
                await asyncio.shield(opening)
            yield rooms
        finally:
            for live in rooms:
                live.pins -= 1

    async def _open(self, rooms: Sequence[LiveRoom]) -> None:
        try:
            await self._hub.subscribe([chat_topic(live.chat_id) for live in rooms])
            positions = await chat_statements.last_seqs(self._database, [live.chat_id for live in rooms])
            for live in rooms:
                position = positions.get(live.chat_id)
                if position is not None:
                    self._hub.open(live, position)
        finally:
            for live in rooms:
                live.opening = None

    # -- one connection, one chat ---------------------------------------------------------------------------------

    async def join(self, connection: Connection, chat_id: ChatId, after: Seq | None) -> Seq:
        """Follow the chat, after having replayed what came after ``after``. Returns the chat's position then.

        Raises ``NotAMember``, ``ResyncRequired`` (too far behind, or ahead of the chat: then nothing has changed),
        ``TooManyRooms``, ``Unavailable``.
        """
        if chat_id not in connection.chats and len(connection.chats) >= self._rooms_per_connection:
            raise TooManyRooms
        if not await self._may_open(connection, [chat_id]):
            raise NotAMember
        async with self.opened([chat_id]) as (live,):
            seen = await self._seen(connection, live)
            while (replay := live.audience.replaying.get(connection)) is not None:
                await replay.over.wait()
                seen = await self._seen(connection, live)
            return await self._attach(connection, live, after, seen)

    async def _may_open(self, connection: Connection, chat_ids: list[ChatId]) -> list[ChatId]:
        """Those of the chats that may get a room for this connection: nobody makes one of a chat that is not theirs.

        Where there is a room already this says nothing: whether they are members is asked once it is open.
        """
        now = self._hub.now()
        if all(self._hub.was_open(chat_id, now) for chat_id in chat_ids):
            return chat_ids
        members = await member_statements.membership(self._database, connection.user_id, chat_ids)
        return [chat_id for chat_id in chat_ids if chat_id in members]

    async def _seen(self, connection: Connection, live: LiveRoom) -> ChatPosition:
        """The membership, read after the room is open, and not ended meanwhile."""
        found = await member_statements.membership(self._database, connection.user_id, [live.chat_id])
        position = found.get(live.chat_id)
        if position is None or live.removed.get(connection.user_id, Seq(0)) > position.last_seq:
            raise NotAMember
        return position

    async def _attach(self, connection: Connection, live: LiveRoom, after: Seq | None, seen: ChatPosition) -> Seq:
        position = live.room.position
        if position is None or connection.closing:
            raise NotAMember
        audience = live.audience
        start = audience.live.get(connection)
        if start is None and connection in audience:
            start = audience.ahead.get(connection, position)
        if after is None:
            if start is None:
                self.attach(connection, live, position)
            return position
        if after > max(position, seen.last_seq):
            self.stats.resyncs += 1
            raise ResyncRequired
        target = position if start is None else min(start, position)
        if after >= target:
            if start is None:
                connection.chats[live.chat_id] = None
                audience.go_live(connection, after, position)
            return max(position, after)
        if target - after > self._replay_limit:
            self.stats.resyncs += 1
            raise ResyncRequired
        connection.chats[live.chat_id] = None
        return await self._replay(connection, live, after, target)

    def attach(self, connection: Connection, live: LiveRoom, start: Seq) -> None:
        """Follow live from ``start``, which is the room's position or a little before or after it."""
        connection.chats[live.chat_id] = None
        assert live.room.position is not None
        live.audience.go_live(connection, start, live.room.position)

    async def _replay(self, connection: Connection, live: LiveRoom, after: Seq, target: Seq) -> Seq:
        """Read ``after < position <= target`` to the connection, then what was held meanwhile, then let it go live."""
        self.stats.replays += 1
        replay = Replay()
        # What came between the target and now was delivered live; what comes from now on is held.
        held_from = max(target, live.room.position or target)
        live.audience.live.pop(connection, None)
        live.audience.ahead.pop(connection, None)
        live.audience.replaying[connection] = replay
        try:
            start = position = after
            while True:
                while position < target:
                    envelopes, position = await self._messages.between(
                        live.chat_id, start=start, after=position, upto=target, limit=CHUNK
                    )
                    await self._write(connection, live, replay, envelopes)
                if not replay.overflowed:
                    break
                # It could not hold all that came meanwhile: read on, up to where the room is now.
                replay.overflowed = False
                replay.held.clear()
                start = position = held_from
                held_from = target = max(held_from, live.room.position or held_from)
        except BaseException:
            if not replay.ended:
                self._hub.leave(connection, live.chat_id)
            raise
        finally:
            replay.over.set()
        rest = [envelope for envelope in replay.held if envelope.position > held_from]
        current = max(held_from, live.room.position or held_from)
        live.audience.go_live(connection, after, current)
        if rest and not connection.send(burst_of(rest)):
            connection.too_slow()
        return current

    async def _write(
        self, connection: Connection, live: LiveRoom, replay: Replay, envelopes: Sequence[Envelope]
    ) -> None:
        """Write a chunk in pieces that the backlog has room for."""
        for envelope in envelopes:
            if replay.ended or connection.closing:
                raise NotAMember
            self.stats.replayed += 1
            if not connection.send(Burst(envelope.frames)):
                connection.too_slow()
            await connection.transport.drained()
        if replay.ended or connection.closing:
            raise NotAMember

    def leave(self, connection: Connection, chat_id: ChatId) -> bool:
        """Follow the chat no more; whether the connection did."""
        followed = chat_id in connection.chats
        if followed and connection.follows_all and (live := self._hub.rooms.get(chat_id)) is not None:
            connection.left[chat_id] = live.room.highest
        self._hub.leave(connection, chat_id)
        return followed

    async def check_member(self, connection: Connection, chat_id: ChatId) -> None:
        """Raises ``NotAMember``. Who follows the chat is one: a removal ends that at once."""
        if chat_id not in connection.chats and not await member_statements.membership(
            self._database, connection.user_id, [chat_id]
        ):
            raise NotAMember

    async def resume(self, connection: Connection, command: Resume) -> None:
        """``join`` for many chats; each is answered with an ack or error of its own, in any order.

        All that miss nothing cost two readings of memberships, or one; the others are replayed one by one then.
        """
        behind = {ChatId(chat): Seq(seq) for chat, seq in command.payload.positions.items()}
        try:
            await self._follow_at_once(connection, behind, command)
        except ChatAppError as error:
            for chat_id in behind:
                connection.refuse(command, error, chat_id)
            return
        for chat_id, after in behind.items():
            try:
                position = await self.join(connection, chat_id, after)
            except ChatAppError as error:
                connection.refuse(command, error, chat_id)
            else:
                connection.ack(command, AckPayload("resume", chat_id, seq=position))

    async def _follow_at_once(self, connection: Connection, positions: dict[ChatId, Seq], command: Resume) -> None:
        """Follow and ack those of the chats in which nothing was missed, and take them out of ``positions``."""
        chat_ids = await self._may_open(connection, list(positions))
        async with self.opened(chat_ids) as rooms:
            seen = await member_statements.membership(self._database, connection.user_id, chat_ids)
            for live in rooms:
                if live.chat_id in seen and self.follow(connection, live, positions[live.chat_id], seen[live.chat_id]):
                    after = positions.pop(live.chat_id)
                    connection.ack(command, AckPayload("resume", live.chat_id, seq=after))

    def follow(self, connection: Connection, live: LiveRoom, after: Seq, seen: ChatPosition) -> bool:
        """Follow from ``after`` on, if nothing has to be replayed before that. If not, ``join`` knows what to do.

        ``seen``: the membership, read since the room was open.
        """
        position = live.room.position
        if position is None or connection.closing or connection in live.audience:
            return False
        if not position <= after <= max(position, seen.last_seq):
            return False
        if live.removed.get(connection.user_id, Seq(0)) > seen.last_seq:
            return False
        if len(connection.chats) >= self._rooms_per_connection:
            return False
        self.attach(connection, live, after)
        return True

    # -- new memberships ------------------------------------------------------------------------------------------

    def joined(self, envelope: Envelope, connections: Sequence[Connection]) -> None:
        """A user became a member: tell all connections, and let those that follow everything follow it."""
        for connection in connections:
            connection.once_ready(partial(self._joined, connection, envelope))

    def _joined(self, connection: Connection, envelope: Envelope) -> None:
        if not connection.send(burst_of([envelope])):
            connection.too_slow()
        self.follow_new(connection, envelope.chat_id, envelope.position)

    def lacks(self, connection: Connection, chat_id: ChatId, joined_seq: Seq) -> bool:
        """Whether it should follow the chat since this joining, for it follows everything, and does not."""
        if not connection.follows_all or connection.closing or chat_id in connection.chats:
            return False
        return joined_seq > connection.left.get(chat_id, Seq(-1))

    def follow_new(self, connection: Connection, chat_id: ChatId, joined_seq: Seq) -> None:
        """Follow a chat from the position of the joining on, if this connection follows everything."""
        if not self.lacks(connection, chat_id, joined_seq):
            return
        task = asyncio.get_running_loop().create_task(self._follow_new(connection, chat_id, joined_seq))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _follow_new(self, connection: Connection, chat_id: ChatId, joined_seq: Seq) -> None:
        try:
            await self.join(connection, chat_id, Seq(max(joined_seq - 1, 0)))
        except TooManyRooms:
            connection.left[chat_id] = joined_seq
        except ChatAppError:
            _log.info(
                "could not follow a new chat at once",
                extra={"connection_id": connection.connection_id, "chat_id": chat_id},
            )

    async def close(self) -> None:
        """End what is under way."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
