"""What the product's own clients tell and do in a run, recorded as ``Client``'s frames are.

They show less than they do, so a follow begins for the checker where the client says ``Connected``, with the positions
that it names, and is complete at ``CaughtUp``. They repeat by themselves what has no answer.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from typing import Protocol

from chatapp import client as sdk
from chatapp.client.events import CaughtUp, Connected, NotFollowed, Positioned, Reconnecting, Resynced, SessionEvent
from chatapp.protocol.events import AckPayload, NewChat
from chatapp.protocol.ids import ChatId, MessageId, Seq
from tests.chaos.hearing import heard
from tests.chaos.history import (
    ChangeAcked,
    ChangeInvoked,
    ChangeRefused,
    ClientHistory,
    Closed,
    FrameKind,
    JoinAcked,
    JoinRefused,
    JoinSent,
    Opened,
    SendAcked,
    SendInvoked,
    SendRefused,
    digest,
)
from tests.chaos.sender import Refusal, Sent


class Hearing:
    """What ``Follower`` is to ``Client``."""

    def __init__(self, history: ClientHistory, chats: Sequence[ChatId]) -> None:
        self.chats: dict[ChatId, Seq] = dict.fromkeys(chats, Seq(0))
        self._history = history
        self._connection = 0
        self._followed: set[ChatId] = set()
        self._replaying: set[ChatId] = set()

    def missing(self, last_seqs: dict[ChatId, Seq]) -> list[str]:
        if self._connection == 0:
            return ["never connected"]
        return [
            f"{chat_id} at {seq} of {last_seqs[chat_id]}{', not live' if chat_id in self._replaying else ''}"
            for chat_id, seq in self.chats.items()
            if chat_id in last_seqs and (seq < last_seqs[chat_id] or chat_id in self._replaying)
        ]

    def on_event(self, event: SessionEvent, urls: Sequence[str]) -> None:
        now, records = time.monotonic(), self._history.records
        match event:
            case Connected():
                self._connection += 1
                positions = dict(event.positions)
                records.append(Opened(now, self._connection, urls.index(event.url), event.epoch, positions))
                self._followed, self._replaying = set(), set()
                for chat_id, after in positions.items():
                    self._join(chat_id, after)
            case Reconnecting():
                records.append(Closed(now, self._connection, event.code))
            case CaughtUp():
                for chat_id in sorted(self._replaying & set(event.positions)):
                    seq = event.positions[chat_id]
                    records.append(JoinAcked(now, self._connection, chat_id, seq))
                    self.chats[chat_id] = max(seq, self.chats[chat_id])
                self._replaying.clear()
            case NotFollowed():
                records.append(JoinRefused(now, self._connection, event.chat_id, event.code))
                self._followed.discard(event.chat_id)
                self._replaying.discard(event.chat_id)
            case NewChat(payload=chat):
                if chat.id in self.chats and chat.id not in self._followed:
                    self._join(chat.id, self.chats[chat.id])
                    self._replaying.discard(chat.id)  # it is not said when that is over
            case Resynced():
                raise AssertionError("so far behind that no run can be")
            case _:
                if isinstance(event, Positioned):
                    self._hear(event, now)

    def _hear(self, event: Positioned, now: float) -> None:
        record = heard(event, now, self._connection)
        if record is None or record.chat_id not in self.chats:
            return
        self._history.records.append(record)
        self.chats[record.chat_id] = record.position
        removed = record.frame is FrameKind.MEMBER_REMOVED and record.subject == self._history.user_id
        if removed and record.chat_id not in self._replaying:
            self._followed.discard(record.chat_id)

    def _join(self, chat_id: ChatId, after: Seq) -> None:
        self._history.records.append(JoinSent(time.monotonic(), self._connection, chat_id, after))
        self._followed.add(chat_id)
        self._replaying.add(chat_id)


class Device(Protocol):
    """The client that is recorded. Both raise ``sdk.Refused``, and ``sdk.Unanswered`` where nothing is known."""

    async def send(self, chat_id: ChatId, content: str, nonce: str) -> AckPayload:
        """A message, to its end."""

    async def change(self, message_id: MessageId, content: str | None) -> None:
        """An edit, or a deletion (None), within ``ANSWER_TIMEOUT_S``."""


class Sending:
    """What ``Sender`` is to ``Client``."""

    def __init__(self, history: ClientHistory, device: Device) -> None:
        self._history = history
        self._device = device
        self._numbers = itertools.count(1)

    async def send(self, chat_id: ChatId, content: str) -> Sent | Refusal:
        return await self.send_as(chat_id, content, f"{self._history.client}-{next(self._numbers)}", first=True)

    async def send_as(self, chat_id: ChatId, content: str, nonce: str, *, first: bool) -> Sent | Refusal:
        records = self._history.records
        if first:
            records.append(SendInvoked(time.monotonic(), chat_id, nonce, digest(content)))
        try:
            ack = await self._device.send(chat_id, content, nonce)
        except sdk.Refused as refused:
            # How often it was tried is not told: perhaps more than once.
            records.append(SendRefused(time.monotonic(), nonce, refused.code, attempts=2))
            return Refusal(refused.code)
        assert ack.message_id is not None
        assert ack.seq is not None
        records.append(SendAcked(time.monotonic(), chat_id, nonce, ack.message_id, ack.seq))
        return Sent(chat_id, ack.message_id, ack.seq)

    async def change(self, chat_id: ChatId, message_id: MessageId, content: str | None) -> bool:
        records, ref = self._history.records, f"{self._history.client}-change-{next(self._numbers)}"
        new = None if content is None else digest(content)
        records.append(ChangeInvoked(time.monotonic(), ref, chat_id, message_id, new))
        try:
            await self._device.change(message_id, content)
        except sdk.Unanswered:
            return False
        except sdk.Refused as refused:
            if not isinstance(refused, sdk.Unavailable) and content is not None:
                records.append(ChangeRefused(time.monotonic(), ref, refused.code))
            return False
        records.append(ChangeAcked(time.monotonic(), ref))
        return True
