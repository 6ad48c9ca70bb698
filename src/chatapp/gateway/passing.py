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
_MESSAGE = b'{"type":"message","'
_TIMESTAMP = b'"timestamp":"'
_TIMESTAMP_BYTES = len("2026-01-31T23:59:59.123456Z")
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
        """These were just written to their followers here. On the hot path: about 1 µs for a message."""
        now = 0.0
        for frame in frames:
            if not frame.startswith(_MESSAGE):
                kind = frame[_BEFORE_TYPE : frame.find(b'"', _BEFORE_TYPE)]
                if kind in self.by_type:
                    self.by_type[kind] += 1
                else:
                    self.others += 1
                continue
            self.by_type[b"message"] += 1
            begin = frame.rfind(_TIMESTAMP, -_TAIL_BYTES) + len(_TIMESTAMP)
            text = frame[begin : begin + _TIMESTAMP_BYTES]
            if text != self._text and not self._read_time(text):
                continue
            now = now or self._clock.now()
            age_s = now - self._stored_at
            if age_s < 0.0:  # dearer as max()
                age_s = 0.0
            self.commit_to_delivery_s.observe(age_s)

    def _read_time(self, text: bytes) -> bool:
        """Messages that were stored together have the same, so it is seldom read. Whoever can publish may forge it."""
        try:
            self._stored_at = datetime.fromisoformat(text.partition(b'"')[0].decode("ascii")).timestamp()
        except (ValueError, OverflowError, OSError):
            return False
        self._text = text
        return True
