"""What a client hears: the chats that it follows, where it stands in each, and how it gets there again."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Sequence

from msgspec import Struct

from chatapp.protocol.events import AckPayload, ErrorPayload, ReadyPayload
from chatapp.protocol.ids import ChatId, Seq
from tests.chaos.hearing import Positioned, heard
from tests.chaos.history import (
    ClientHistory,
    FrameKind,
    Heard,
    JoinAcked,
    JoinRefused,
    JoinSent,
    Reread,
    ResyncTold,
    digest,
)
from tests.chaos.rest import RefusedError, Rest
from tests.chaos.sender import ANSWER_TIMEOUT_S, RETRYABLE, Write

_JOIN_TIMEOUT_S = 2 * ANSWER_TIMEOUT_S
_OUTSIDE_S = 1.0
"""Between attempts to join a chat that one was removed from."""


class StartOver(Exception):
    """The connection is to be left for a new one."""


class ChatState(Struct):
    """One chat, as the client has it."""

    position: Seq = Seq(0)
    """Everything up to here was heard."""
    live: bool = False
    """It is followed, and what was before has been heard."""
    due: float = 0.0
    """When to try to join (again)."""
    reread: asyncio.Task[None] | None = None


class Follower:
    """The listening half of a client. One connection at a time; ``opened`` begins it, ``closed`` ends it."""

    def __init__(
        self,
        history: ClientHistory,
        chats: Sequence[ChatId],
        write: Write,
        rest: Rest,
        token: str,
        rng: random.Random,
    ) -> None:
        self.chats = {chat_id: ChatState() for chat_id in chats}
        self._history = history
        self._write = write
        self._rest = rest
        self._token = token
        self._rng = rng
        self._joins: dict[str, ChatId] = {}
        self._numbers = itertools.count(1)
        self._connection = 0

    def missing(self, last_seqs: dict[ChatId, Seq]) -> list[str]:
        """The chats that are not followed, or not heard up to these positions, each with where it stands."""
        return [
            f"{chat_id} at {state.position} of {last_seqs[chat_id]}{'' if state.live else ', not live'}"
            for chat_id, state in self.chats.items()
            if chat_id in last_seqs and not (state.live and state.position >= last_seqs[chat_id])
        ]

    def opened(self, connection: int, ready: ReadyPayload) -> None:
        """Follow everything on this new connection."""
        self._connection = connection
        self._joins.clear()
        for state in self.chats.values():
            state.live, state.due, state.reread = False, 0.0, None
        if self._history.live_only:
            for chat in ready.chats:
                self._follows_from(chat.chat_id, chat.last_seq)

    async def closed(self) -> None:
        """Nothing is followed any more."""
        readers = [state.reread for state in self.chats.values() if state.reread is not None]
        for state in self.chats.values():
            state.live = False
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)

    def do_what_is_due(self) -> None:
        """Join what is not followed. Raises ``StartOver`` for an unanswered join: another could mix two replays."""
        now = time.monotonic()
        if any(self.chats[chat_id].due <= now for chat_id in self._joins.values()):
            raise StartOver
        for chat_id, state in self.chats.items():
            if not (state.live or state.reread or self._history.live_only) and state.due <= now:
                self._join(chat_id, state)

    def on_frame(self, event: Positioned) -> None:
        """A frame about a chat. Raises ``StartOver`` where only a new connection knows what is followed now."""
        record = heard(event, time.monotonic(), self._connection)
        if record is None:
            return
        state = self.chats.get(record.chat_id)
        about_us = record.subject == self._history.user_id
        if self._history.live_only and state is not None and not state.live:
            if about_us and record.frame is FrameKind.MEMBER_ADDED:
                raise StartOver
            if record.frame is FrameKind.SYSTEM:
                return  # that of the same row
        self._history.records.append(record)
        if state is not None:
            self._advance(state, record, about_us)

    def on_new_chat(self, chat_id: ChatId) -> None:
        """We became a member (again). Raises ``StartOver`` as ``on_frame`` does."""
        state = self.chats.get(chat_id)
        if state is None or state.live:
            return
        if self._history.live_only:
            raise StartOver
        if chat_id not in self._joins.values():
            state.due = 0.0

    def on_ack(self, ref: str, ack: AckPayload) -> None:
        """An answer to anything; what is not ours is left alone."""
        if ref in self._joins and ack.seq is not None:
            chat_id = self._joins.pop(ref)
            self._history.records.append(JoinAcked(time.monotonic(), self._connection, chat_id, ack.seq))
            state = self.chats[chat_id]
            state.live, state.position = True, max(state.position, ack.seq)

    def on_error(self, ref: str, error: ErrorPayload) -> None:
        """As ``on_ack``."""
        chat_id = self._joins.pop(ref, None)
        if chat_id is None:
            return
        now, state = time.monotonic(), self.chats[chat_id]
        self._history.records.append(JoinRefused(now, self._connection, chat_id, error.code))
        if error.code == "resync_required":
            self._history.records.append(ResyncTold(now, self._connection, chat_id))
            state.reread = asyncio.create_task(self._read_again(chat_id, state))
        elif error.code in RETRYABLE:
            state.due = now + (error.retry_after or self._rng.uniform(0.05, 0.5))
        else:
            state.due = now + _OUTSIDE_S

    def _advance(self, state: ChatState, record: Heard, about_us: bool) -> None:
        state.position = max(state.position, record.position)
        if about_us and record.frame is FrameKind.MEMBER_REMOVED and state.live:
            state.live, state.due = False, time.monotonic() + _OUTSIDE_S

    def _follows_from(self, chat_id: ChatId, position: Seq) -> None:
        """A connection that follows everything has, as it were, joined at the chat's position."""
        state = self.chats.get(chat_id)
        if state is not None:
            now = time.monotonic()
            state.live, state.position = True, position
            self._history.records.append(JoinSent(now, self._connection, chat_id, position))
            self._history.records.append(JoinAcked(now, self._connection, chat_id, position))

    def _join(self, chat_id: ChatId, state: ChatState) -> None:
        now, ref = time.monotonic(), f"join-{next(self._numbers)}"
        if self._write("join_chat", {"chat_id": chat_id, "after_seq": state.position}, ref):
            state.due = now + _JOIN_TIMEOUT_S
            self._joins[ref] = chat_id
            self._history.records.append(JoinSent(now, self._connection, chat_id, state.position))

    async def _read_again(self, chat_id: ChatId, state: ChatState) -> None:
        """Everything, over REST: only the messages after the position would leave out what changed before it."""
        try:
            upto = await self._rest.last_seq(self._token, chat_id)
            messages = await self._rest.history(self._token, chat_id)
        except RefusedError:
            state.due = time.monotonic() + _OUTSIDE_S
        else:
            rows = {message.seq: digest(message.content) for message in messages}
            self._history.records.append(Reread(time.monotonic(), chat_id, upto, rows))
            state.position, state.due = upto, 0.0
        state.reread = None
