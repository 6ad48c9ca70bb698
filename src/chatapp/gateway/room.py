"""A chat's order on this replica, without I/O: what may go out now, what waits, what is missing.

The room knows the position up to which everything was delivered. The next one in line goes out at once. What comes
early waits a moment, for publishes of different replicas overtake each other; then ``missing`` names the range to read
from PostgreSQL, and ``filled`` takes what was read. What is old is dropped. So whatever the bus loses, repeats or
reorders, every position is delivered once, ascending.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from chatapp.protocol.envelope import Envelope, Kind
from chatapp.protocol.ids import ChatId, Seq

EARLY_LIMIT = 1000
"""Envelopes that wait in one room at most; what is beyond is read from PostgreSQL later."""


class Room:
    """Position None: not yet known, so lasting events wait, and passing ones are dropped."""

    __slots__ = ("_early", "_gap_since", "chat_id", "filling", "highest", "position")

    def __init__(self, chat_id: ChatId) -> None:
        self.chat_id = chat_id
        self.position: Seq | None = None
        self.highest = Seq(0)
        """The highest position that was ever heard of."""
        self.filling = False
        """Somebody reads the missing range now."""
        self._early: dict[Seq, Envelope] = {}
        self._gap_since: float | None = None

    def open(self, position: Seq, now: float) -> list[Envelope]:
        """The position was read from PostgreSQL, after the subscription was confirmed. Returns what goes out."""
        if self.position is not None:
            return []
        self.position = position
        return self._settle([], now)

    def receive(self, envelopes: Iterable[Envelope], now: float) -> list[Envelope]:
        """Envelopes from the bus. Returns what goes out now, in order. ``now``: seconds, monotonic."""
        ready: list[Envelope] = []
        position = self.position
        for envelope in envelopes:
            if envelope.kind > Kind.REMOVED:
                if position is not None:
                    ready.append(envelope)
                continue
            at = envelope.position
            if position is not None and at == position + 1:
                ready.append(envelope)
                self.position = position = at
                if at > self.highest:
                    self.highest = at
            elif position is None or at > position:
                if at > self.highest:
                    self.highest = at
                if len(self._early) < EARLY_LIMIT:
                    self._early[at] = envelope
        if self._early or self._gap_since is not None:
            return self._settle(ready, now)
        return ready

    def behind(self, last_seq: Seq, now: float, *, urgent: bool = True) -> None:
        """PostgreSQL's position was read: what this room has not heard of is missing since now (or long ago)."""
        if last_seq > self.highest:
            self.highest = last_seq
        if self.position is not None and self.highest > self.position and (urgent or self._gap_since is None):
            self._gap_since = float("-inf") if urgent else now

    def forget_beyond(self, last_seq: Seq) -> None:
        """PostgreSQL's position, read after all that was heard of: what claims a higher one is not of this chat."""
        if self.highest > last_seq:
            self.highest = last_seq
            self._early = {at: e for at, e in self._early.items() if at <= last_seq}
            if self.position is not None and self.highest <= self.position:
                self._gap_since = None

    def missing(self, now: float, gap_wait_s: float) -> tuple[Seq, Seq] | None:
        """``(after, upto)`` to read from PostgreSQL now, or None: nothing is missing, it may still come, or is read."""
        if self.position is None or self.filling or self._gap_since is None:
            return None
        if now < self._gap_since + gap_wait_s:
            return None
        return self.position, self.highest

    @property
    def has_gap(self) -> bool:
        """Whether something is missing (it may still come by itself)."""
        return self._gap_since is not None

    def filled(self, envelopes: Sequence[Envelope], upto: Seq, now: float) -> list[Envelope]:
        """What was read for positions up to ``upto``, in the order of a replay. Returns what goes out."""
        assert self.position is not None
        position = self.position
        ready = [envelope for envelope in envelopes if envelope.position > position]
        if upto > position:
            self.position = upto
        return self._settle(ready, now)

    def _settle(self, ready: list[Envelope], now: float) -> list[Envelope]:
        """Let out what waited and is next in line, forget what is old, and note whether a gap is left."""
        position = self.position
        if position is None:
            return ready
        early = self._early
        while (envelope := early.pop(Seq(position + 1), None)) is not None:
            ready.append(envelope)
            position = envelope.position
        self.position = position
        if early and min(early) <= position:
            self._early = {at: e for at, e in early.items() if at > position}
        if self.highest <= position:
            self._gap_since = None
        elif self._gap_since is None:
            self._gap_since = now
        return ready
