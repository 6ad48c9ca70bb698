"""What passes through the rooms of a replica: events by type, and how old each is when the sockets get it.

An event is looked at once, however many connections it goes to.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import get_args

from chatapp.counting import Histogram
from chatapp.protocol.events import ChatEvent

_BEFORE_TYPE = len(b'{"type":"')
_TIMESTAMP = b'"timestamp":"'
_TAIL_BYTES = 200
"""A message's timestamp stands behind its content, within its frame's last so many bytes."""
_SAMPLES = 20


class PostgresClock:
    """PostgreSQL's clock as seen from here, without I/O.

    Each sample says what PostgreSQL's clock showed between two readings of the host's own. The one with the shortest
    round trip of the last twenty (a minute of comparisons) counts; it is wrong by half of that trip at most.
    """

    def __init__(self, host_clock: Callable[[], float] = time.time) -> None:
        self.host_clock = host_clock
        """Seconds since 1970."""
        self._samples: deque[tuple[float, float]] = deque(maxlen=_SAMPLES)
        self.ahead_s = 0.0
        """How far PostgreSQL's clock is ahead of this host's; 0 until it was asked."""

    def sample(self, asked: float, showed: datetime, answered: float) -> None:
        """PostgreSQL's clock showed this between two readings of ``host_clock``."""
        self._samples.append((answered - asked, showed.timestamp() - (asked + answered) / 2))
        self.ahead_s = min(self._samples)[1]

    def now(self) -> float:
        """Seconds since 1970."""
        return self.host_clock() + self.ahead_s


class Passing:
    """One for each hub."""

    def __init__(self, clock: PostgresClock) -> None:
        self._clock = clock
        self.by_type: dict[bytes, int] = {str(kind.__struct_config__.tag).encode(): 0 for kind in get_args(ChatEvent)}
        self.others = 0
        """Of types that this version does not know, as during a rollout."""
        self.commit_to_delivery_s = Histogram()
        """Of messages: from the time that they were stored with to their being handed to the sockets."""
        self._text: bytes | None = None
        self._stored_at = 0.0

    def handed_over(self, frames: Sequence[bytes]) -> None:
        """These were just written to their followers here."""
        for frame in frames:
            kind = frame[_BEFORE_TYPE : frame.find(b'"', _BEFORE_TYPE)]
            try:
                self.by_type[kind] += 1
            except KeyError:
                self.others += 1
            if kind == b"message":
                self._observe_age(frame)

    def _observe_age(self, frame: bytes) -> None:
        at = frame.rfind(_TIMESTAMP, -_TAIL_BYTES)
        if at < 0:
            return
        begin = at + len(_TIMESTAMP)
        text = frame[begin : frame.find(b'"', begin)]
        if text != self._text:  # messages that were stored together mostly have the same
            try:
                self._stored_at = datetime.fromisoformat(text.decode("ascii")).timestamp()
            except (ValueError, OverflowError, OSError):
                return  # whoever can publish to Redis must not be able to stop a replica
            self._text = text
        self.commit_to_delivery_s.observe(max(0.0, self._clock.now() - self._stored_at))
