"""How connections start: in groups, because thousands come at once after a deploy.

Who comes while a group is under way is in the next one. A group costs one subscription and one or two queries.
"""

from __future__ import annotations

import asyncio
import logging
from array import array
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from msgspec import Struct

from chatapp.errors import ChatAppError, Unavailable
from chatapp.gateway.connection import Connection
from chatapp.gateway.following import Following
from chatapp.gateway.hub import Hub, LiveRoom
from chatapp.protocol.codes import CloseCode
from chatapp.protocol.commands import Resume, ResumePayload
from chatapp.protocol.events import AckPayload, ChatPosition, Ready, ReadyPayload
from chatapp.protocol.ids import ChatId, Seq, UserId
from chatapp.storage import members as member_statements
from chatapp.storage.engine import Database

_log = logging.getLogger(__name__)

GROUP = 200


class Start(Struct, frozen=True, eq=False):
    """A connection that waits to be started."""

    connection: Connection
    resume: Mapping[ChatId, Seq]
    done: asyncio.Future[None]


class Starting:
    """One for each replica. ``epoch``, ``heartbeat_s`` and ``replica`` (its name) are what ``ready`` tells."""

    def __init__(
        self,
        hub: Hub,
        following: Following,
        database: Database,
        *,
        heartbeat_s: int,
        rooms_per_connection: int,
        epoch: str,
        replica: str = "",
    ) -> None:
        self._hub = hub
        self._following = following
        self._database = database
        self._heartbeat_s = heartbeat_s
        self._rooms_per_connection = rooms_per_connection
        self.epoch = epoch
        self._replica = replica
        self._waiting: list[Start] = []
        self._task: asyncio.Task[None] | None = None

    async def start(self, connection: Connection, resume: Mapping[ChatId, Seq]) -> None:
        """Send ``ready``, and follow the connection's chats. It is in the hub already.

        Raises ``Unavailable`` when PostgreSQL is away; then the connection follows nothing and should be closed.
        """
        loop = asyncio.get_running_loop()
        start = Start(connection, resume, loop.create_future())
        self._waiting.append(start)
        if self._task is None:
            self._task = loop.create_task(self._run())
        await start.done

    async def close(self) -> None:
        """End what is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = self._waiting[:GROUP], self._waiting[GROUP:]
                error: Exception | None = None
                try:
                    await self._start_group([start for start in group if not start.connection.closing])
                except ChatAppError as refused:
                    error = refused
                except Exception:  # noqa: BLE001 (everybody in the group gets an answer)
                    _log.exception("connections could not be started")
                    error = Unavailable()
                for start in group:
                    if start.done.done():
                        continue
                    if error is not None:
                        start.done.set_exception(error)
                    else:
                        start.done.set_result(None)
        finally:
            self._task = None
            for start in self._waiting:
                start.done.cancel()

    async def _start_group(self, group: list[Start]) -> None:
        users: list[UserId] = list({start.connection.user_id for start in group})
        await self._hub.hear_users(users)
        asked = self._hub.now()
        chats = await member_statements.positions_of(self._database, users)
        wanted = {chat_id for start in group for chat_id in self._wanted(start, chats[start.connection.user_id])}
        all_were_open = all(self._hub.was_open(chat_id, asked) for chat_id in wanted)
        async with self._following.opened(wanted) as rooms:
            if not all_were_open:
                # Memberships may have ended before the new rooms' subscriptions could tell.
                chats = await member_statements.positions_of(self._database, users)
            by_id = {live.chat_id: live for live in rooms}
            for start in group:
                if not start.connection.closing:
                    self._begin(start, chats.get(start.connection.user_id, []), by_id)

    def _wanted(self, start: Start, chats: list[ChatPosition]) -> Iterator[ChatId]:
        """The chats that this connection follows from the start, unless it has to be replayed to."""
        if start.connection.follows_all:
            chats = chats[: self._rooms_per_connection]
            yield from (seen.chat_id for seen in chats)
        else:
            yield from (seen.chat_id for seen in chats if seen.chat_id in start.resume)

    def _begin(self, start: Start, chats: list[ChatPosition], rooms: Mapping[ChatId, LiveRoom]) -> None:
        """Say ``ready`` and go live, in one go, so that the positions in ``ready`` are where live begins."""
        connection = start.connection
        told: list[ChatPosition] = []
        attach: list[tuple[LiveRoom, Seq]] = []
        for seen in chats:
            live = rooms.get(seen.chat_id)
            position = None if live is None else live.room.position
            if live is None or position is None or not connection.follows_all:
                told.append(seen)
                continue
            if live.removed.get(connection.user_id, Seq(0)) > seen.last_seq:
                continue
            told.append(ChatPosition(seen.chat_id, position, seen.last_read_seq))
            if seen.chat_id not in start.resume and len(attach) < self._rooms_per_connection:
                attach.append((live, position))
        connection.reply(
            Ready(
                ReadyPayload(
                    user_id=connection.user_id,
                    connection_id=connection.connection_id,
                    server_time=datetime.now(UTC),
                    heartbeat_s=self._heartbeat_s,
                    epoch=self.epoch,
                    chats=told,
                    replica=self._replica,
                )
            )
        )
        if not connection.follows_all:
            connection.listed = array("q", [seen.chat_id for seen in told])
        for live, position in attach:
            self._following.attach(connection, live, position)
        if start.resume:
            self._go_on(start, chats, rooms)
        connection.is_ready()

    def _go_on(self, start: Start, chats: list[ChatPosition], rooms: Mapping[ChatId, LiveRoom]) -> None:
        """Follow the chats that the client knows: at once where it missed nothing, the others by a ``resume``."""
        connection = start.connection
        behind = {int(chat_id): int(seq) for chat_id, seq in start.resume.items()}
        resume = Resume(ResumePayload(behind))
        for seen in chats:
            after = start.resume.get(seen.chat_id)
            if after is None:
                continue
            if connection.follows_all:  # but not this chat by itself
                connection.left[seen.chat_id] = seen.last_seq
            live = rooms.get(seen.chat_id)
            if live is not None and self._following.follow(connection, live, after, seen):
                del behind[seen.chat_id]
                connection.ack(resume, AckPayload("resume", seen.chat_id, seq=after))
        if behind:
            connection.enqueue(resume)


def refuse_to_start(connection: Connection) -> None:
    """PostgreSQL is away: the client should try again later."""
    connection.close(CloseCode.TRY_AGAIN_LATER, "temporarily unavailable")
