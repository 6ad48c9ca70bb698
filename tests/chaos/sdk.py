"""The product's own client in a run, in the place of ``Client``: what it hands out and acks is what is recorded.

It shows less than it does, so a follow begins for the checker where the session says ``Connected``, with the positions
that it names, and is complete at ``CaughtUp``.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence

from chatapp import client as sdk
from chatapp.client.events import CaughtUp, Connected, NotFollowed, Positioned, Reconnecting, Resynced, SessionEvent
from chatapp.protocol.events import NewChat
from chatapp.protocol.ids import ChatId, MessageId, Seq, UserId
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
from tests.chaos.sender import ANSWER_TIMEOUT_S, Refusal, Sent

_TIMING = sdk.Timing(
    open_s=2.0,
    answer_s=ANSWER_TIMEOUT_S,
    silence_s=1.0,
    pong_s=1.0,
    stalled_s=4.0,
    settled_s=1.0,
    backoff_start_s=0.1,
    backoff_cap_s=1.0,
    restart_spread_s=1.0,
    tick_s=0.1,
)
_EVENTS = 50
"""Few, so that a burst does not fit and is fetched again."""


class Hearing:
    """What ``Follower`` is to ``Client``.

    ``rejoins_live``: in a chat that one is added to again, the client begins with what comes, not where it left off.
    """

    def __init__(self, history: ClientHistory, chats: Sequence[ChatId], *, rejoins_live: bool = False) -> None:
        self.chats: dict[ChatId, Seq] = dict.fromkeys(chats, Seq(0))
        self._history = history
        self._rejoins_live = rejoins_live
        self._awaited: set[ChatId] = set()
        """Joined again, and nothing was heard of it yet."""
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
                self._followed, self._replaying, self._awaited = set(), set(), set()
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
            case NewChat(payload=chat) if self._rejoins_live:
                if chat.id in self.chats and chat.id not in self._followed:
                    self._awaited.add(chat.id)
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
        if record.chat_id in self._awaited:
            self._awaited.discard(record.chat_id)
            before = Seq(record.position - 1)
            self._join(record.chat_id, before)
            self._replaying.discard(record.chat_id)
            self._history.records.append(JoinAcked(now, self._connection, record.chat_id, before))
        self._history.records.append(record)
        self.chats[record.chat_id] = record.position
        removed = record.frame is FrameKind.MEMBER_REMOVED and record.subject == self._history.user_id
        if removed and record.chat_id not in self._replaying:
            self._followed.discard(record.chat_id)

    def _join(self, chat_id: ChatId, after: Seq) -> None:
        self._history.records.append(JoinSent(time.monotonic(), self._connection, chat_id, after))
        self._followed.add(chat_id)
        self._replaying.add(chat_id)


class _Sending:
    """What ``Sender`` is to ``Client``."""

    def __init__(self, history: ClientHistory, session: sdk.Session) -> None:
        self._history = history
        self._session = session
        self._numbers = itertools.count(1)

    async def send(self, chat_id: ChatId, content: str) -> Sent | Refusal:
        return await self.send_as(chat_id, content, f"{self._history.client}-{next(self._numbers)}", first=True)

    async def send_as(self, chat_id: ChatId, content: str, nonce: str, *, first: bool) -> Sent | Refusal:
        records = self._history.records
        if first:
            records.append(SendInvoked(time.monotonic(), chat_id, nonce, digest(content)))
        try:
            ack = await self._session.send(chat_id, content, nonce=nonce)
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
            if content is None:
                await self._session.delete(message_id, within_s=ANSWER_TIMEOUT_S)
            else:
                await self._session.edit(message_id, content, within_s=ANSWER_TIMEOUT_S)
        except sdk.Unanswered:
            return False
        except sdk.Refused as refused:
            if not isinstance(refused, sdk.Unavailable) and content is not None:
                records.append(ChangeRefused(time.monotonic(), ref, refused.code))
            return False
        records.append(ChangeAcked(time.monotonic(), ref))
        return True


class SdkClient:
    """One user's device, as ``Client`` is."""

    def __init__(
        self, name: str, user_id: UserId, token: str, gateways: Sequence[str], chats: Sequence[ChatId], seed: int
    ) -> None:
        self.history = ClientHistory(name, user_id)
        self.token = token
        self.unexpected: dict[str, int] = {}
        first = seed % len(gateways)
        self._urls = [f"http://{gateway}" for gateway in (*gateways[first:], *gateways[:first])]
        self._replicas = [f"http://{gateway}" for gateway in gateways]
        self._client = sdk.Client(*self._urls, token=token, trust_env=False, timeout_s=3.0)
        start = sdk.Bookmark(positions=dict.fromkeys(chats, Seq(0)))
        self._session = self._client.session(bookmark=start, events=_EVENTS, timing=_TIMING)
        self.follower = Hearing(self.history, chats)
        self.sender = _Sending(self.history, self._session)

    async def run(self) -> None:
        async with self._client, self._session:
            async for event in self._session:
                self.follower.on_event(event, self._replicas)
                await asyncio.sleep(0)
