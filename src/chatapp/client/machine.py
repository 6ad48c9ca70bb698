"""A session's state without I/O: events and the clock go in, what to do comes out.

``query`` begins a connection, ``receive`` and ``tick`` are its life, ``lost`` its end and the answer to what then. The
caller carries out the effects in their order and, after ``Drop``, hands in nothing more of that connection.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Collection, Mapping

import msgspec
from msgspec import UNSET, Struct

from chatapp.client.backoff import Loss, Timing, pause_s
from chatapp.client.events import CaughtUp, Connected, NotFollowed, Reconnecting, SessionEvent, StartedOver
from chatapp.client.following import Following, Phase
from chatapp.client.outbox import Outbox, Settled
from chatapp.protocol.codes import CloseCode
from chatapp.protocol.commands import Ping, Resume, ResumePayload
from chatapp.protocol.events import (
    Ack,
    AckPayload,
    ChatDeleted,
    CommandRef,
    Error,
    ErrorPayload,
    GoingAway,
    MessageSent,
    NewChat,
    Pong,
    Ready,
    ReadyPayload,
    ServerEvent,
)
from chatapp.protocol.ids import ChatId, Seq, UserId

_HOPELESS_CODES = frozenset({CloseCode.UNSUPPORTED, CloseCode.NOT_UTF8, CloseCode.POLICY, CloseCode.MALFORMED})
_HOPELESS_STATUS = frozenset({400, 403, 404, 405, 426})
_MINE = "s"
"""Begins the ids of the machine's own commands."""


class Write(Struct, frozen=True):
    """Write a frame."""

    frame: bytes


class Tell(Struct, frozen=True):
    """Hand an event to the caller."""

    event: SessionEvent


class Drop(Struct, frozen=True):
    """End this connection from here."""

    loss: Loss


class ReadHistory(Struct, frozen=True):
    """Read a chat over REST from its position on, told as ``chat_read`` wants it."""

    chat_id: ChatId


Effect = Write | Tell | Settled | Drop | ReadHistory


class Reconnect(Struct, frozen=True):
    """Connect again after so many seconds."""

    in_s: float


class Renew(Struct, frozen=True):
    """The token was refused: get another one, then connect again at once."""


class GiveUp(Struct, frozen=True):
    """No connection will be better than this one."""

    reason: str


Next = Reconnect | Renew | GiveUp


class Machine:
    """``epoch`` empty: the positions are of whatever epoch there is. ``now`` everywhere: seconds, monotonic."""

    def __init__(
        self,
        *,
        epoch: str,
        positions: Mapping[ChatId, Seq],
        only: Collection[ChatId] | None,
        timing: Timing,
        addresses: int,
        rng: random.Random,
    ) -> None:
        self.following = Following(positions, only, rng)
        self.outbox = Outbox(timing.answer_s, rng)
        self.epoch = epoch
        self.me: UserId | None = None
        self._only = only
        self._timing = timing
        self._addresses = addresses
        self._rng = rng
        self._numbers = itertools.count(1)
        self._resumes: dict[CommandRef, list[ChatId]] = {}
        self._ready_at: float | None = None
        self._paused = False
        self._last_heard = 0.0
        self._pinged_at: float | None = None
        self._progress_at = 0.0
        self._going_away_s: float | None = None
        self._catching_up = False
        self._failures = 0
        self._hopeless = 0
        self._renewals = 0

    @property
    def is_ready(self) -> bool:
        """Whether commands can be written."""
        return self._ready_at is not None

    @property
    def awaits_answers(self) -> bool:
        """Whether somebody waits for what only reading on brings."""
        return len(self.outbox) > 0

    def query(self) -> str:
        """Of the address to connect to."""
        return self.following.query()

    # -- what comes -----------------------------------------------------------------------------------------------

    def receive(self, event: ServerEvent, now: float, *, url: str = "", room: bool = True) -> list[Effect]:
        """An event from the socket. ``room``: whether the caller can keep one more."""
        self._last_heard, self._pinged_at = now, None
        match event:
            case Ready(payload=ready):
                return self._ready(ready, url, now)
            case Ack(payload=ack, id=ref):
                return self._acked(None if ref is UNSET else ref, ack, now)
            case Error(payload=error, id=ref):
                return self._refused(None if ref is UNSET else ref, error, now)
            case GoingAway(payload=going):
                self._going_away_s = going.reconnect_after_ms / 1000
                return []
            case Pong():
                return []
            case _:
                pass
        if self.me is None or not self.following.tells(event, self.me, room=room):
            return []
        effects: list[Effect] = [Tell(event)]
        match event:
            case MessageSent(payload=message):
                self.following.count(message.chat_id)
            case NewChat(payload=chat):
                self.following.became_member(chat.id, chat.last_seq, now)
                effects += self._resume(now)
            case ChatDeleted(payload=gone):
                self.following.deleted(gone.chat_id)
            case _:
                pass
        self._progress_at = now
        return effects

    def tick(self, now: float) -> list[Effect]:
        """The clock; at least every second."""
        if self._ready_at is None:
            return []
        if self._paused:
            return self.written(now)
        if self._pinged_at is None and now - self._last_heard > self._timing.silence_s:
            self._pinged_at = now
            return [Write(msgspec.json.encode(Ping(id=self._ref())))]
        if self._pinged_at is not None and now - self._pinged_at > self._timing.pong_s:
            return [Drop(Loss("the server is silent"))]
        if self.following.is_asked and now - self._progress_at > self._timing.stalled_s:
            return [Drop(Loss("the replay does not go on"))]
        return [*self._resume(now), *self.written(now)]

    def written(self, now: float) -> list[Effect]:
        """The commands that are due."""
        return [] if self._ready_at is None else [Write(frame) for frame in self.outbox.due(now)]

    def pauses(self) -> None:
        """The caller leaves the socket unread; until it goes on, silence says nothing."""
        self._paused = True

    def goes_on(self, now: float) -> None:
        """The caller reads on."""
        self._paused, self._pinged_at = False, None
        self._last_heard = self._progress_at = now

    def room_again(self) -> list[Effect]:
        """The caller has room for events again; what was skipped comes on another connection."""
        if self._ready_at is not None and self.following.skips:
            return [Drop(Loss("reading on", at_once=True))]
        return []

    def chat_read(self, chat_id: ChatId, now: float) -> list[Effect]:
        """The history was read as far as it goes, or reading failed."""
        self._progress_at = now
        self.following.ended_reading(chat_id, now)
        return self._resume(now)

    # -- the end of a connection ----------------------------------------------------------------------------------

    def lost(self, loss: Loss, now: float) -> tuple[list[Effect], Next]:
        """There is no connection (any more): what to do, and what then."""
        if self._ready_at is not None and (loss.at_once or now - self._ready_at >= self._timing.settled_s):
            self._failures = 0
        effects: list[Effect] = [*self.outbox.closed()]
        if loss.code == CloseCode.TOO_LARGE and (settled := self.outbox.too_large()) is not None:
            effects.append(settled)
        was_ready, self._ready_at = self._ready_at is not None, None
        self._paused, self._pinged_at = False, None
        going_away_s, self._going_away_s = self._going_away_s, None
        self.following.closed()
        self._resumes.clear()
        if was_ready:
            self._renewals = self._hopeless = 0
        if loss.code == CloseCode.UNAUTHORISED or loss.status == 401:
            self._renewals += 1
            return effects, Renew() if self._renewals <= 2 else GiveUp(loss.reason)
        if loss.code in _HOPELESS_CODES or loss.status in _HOPELESS_STATUS:
            self._hopeless += 1
            if self._hopeless >= self._addresses or loss.code in _HOPELESS_CODES:
                return effects, GiveUp(loss.reason)
        rounds = self._failures // self._addresses
        wait_s = pause_s(loss, rounds, going_away_s, self._timing, self._rng)
        if not loss.at_once:
            self._failures += 1
        return effects, Reconnect(wait_s)

    def reconnecting(self, loss: Loss, in_s: float, url: str) -> Reconnecting:
        """The event that tells of it."""
        return Reconnecting(in_s, loss.reason, loss.code, url)

    # -- inside ---------------------------------------------------------------------------------------------------

    def _ready(self, ready: ReadyPayload, url: str, now: float) -> list[Effect]:
        self.me = ready.user_id
        if self.epoch not in ("", ready.epoch):
            self.epoch = ready.epoch
            self.following.forget()
            return [Tell(StartedOver(ready.epoch)), Drop(Loss("the positions are void", at_once=True))]
        self.epoch = ready.epoch
        self._ready_at = self._progress_at = now
        self.following.opened(ready.chats, now)
        self.outbox.opened()
        self._catching_up = True
        positions = self.following.positions
        effects: list[Effect] = [Tell(Connected(url, ready.connection_id, ready.user_id, ready.epoch, positions))]
        effects += [Tell(NotFollowed(chat, "not_a_member")) for chat in sorted(set(self._only or ()) - set(positions))]
        return [*effects, *self._resume(now), *self.written(now), *self._caught_up()]

    def _resume(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        for positions in self.following.ask(now):
            self._progress_at = now
            ref = self._ref()
            self._resumes[ref] = list(positions)
            payload = ResumePayload({int(chat): int(seq) for chat, seq in positions.items()})
            effects.append(Write(msgspec.json.encode(Resume(payload, id=ref))))
        return effects

    def _acked(self, ref: CommandRef | None, ack: AckPayload, now: float) -> list[Effect]:
        if ack.type == "resume" and ack.chat_id is not None and ack.seq is not None:
            self._progress_at = now
            self.following.acked(ack.chat_id, ack.seq)
            return self._caught_up()
        settled = self.outbox.acked(str(ref), ack) if ref is not None else None
        return [] if settled is None else [settled]

    def _refused(self, ref: CommandRef | None, error: ErrorPayload, now: float) -> list[Effect]:
        if error.chat_id is not None:
            self._progress_at = now
            phase = self.following.refused(error.chat_id, error.code, error.retry_after, now)
            if phase is Phase.READING:
                return [ReadHistory(error.chat_id)]
            told: list[Effect] = [Tell(NotFollowed(error.chat_id, error.code))] if phase is Phase.OUT else []
            return [*told, *self._caught_up()]
        if ref in self._resumes and ref is not None:
            self.following.refused_all(self._resumes.pop(ref), error.retry_after, now)
            return []
        settled = self.outbox.refused(str(ref), error, now) if ref is not None else None
        return [] if settled is None else [settled]

    def _caught_up(self) -> list[Effect]:
        if not self._catching_up or self.following.is_behind:
            return []
        self._catching_up = False
        return [Tell(CaughtUp(self.following.missed, self.following.positions))]

    def _ref(self) -> str:
        return f"{_MINE}{next(self._numbers)}"
