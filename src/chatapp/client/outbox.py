"""What was sent and is not answered yet, without I/O: said again until it is, on this connection or the next.

But for edits. They have no nonce, so one that a replica held up could undo a later one: an edit is written once, and
when its connection ends before the answer, nothing is known.
"""

from __future__ import annotations

import math
import random

from msgspec import Struct

from chatapp.client.errors import ClientError, Refused, Unanswered, kind_of_code
from chatapp.protocol.events import AckPayload, ErrorPayload

_NOT_DONE = frozenset({"overloaded", "rate_limited"})
_RETRYABLE = _NOT_DONE | {"unavailable", "internal"}
"""After which the same may succeed; but for those of ``_NOT_DONE``, it may also have been done."""


class Settled(Struct, frozen=True):
    """A command has its answer."""

    ref: str
    answer: AckPayload | ClientError


class _Pending(Struct):
    frame: bytes
    deletes: bool
    once: bool
    due: float = 0.0
    attempts: int = 0


class Outbox:
    """Commands by the ``id`` that their answer carries, in the order of the calls."""

    def __init__(self, answer_s: float, rng: random.Random) -> None:
        self._answer_s = answer_s
        self._rng = rng
        self._pending: dict[str, _Pending] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, ref: str, frame: bytes, *, deletes: bool = False, once: bool = False) -> None:
        """A new command; it is due at once. ``deletes``: not being found at a repetition is success.

        ``once``: it is not said again when it may have been done.
        """
        self._pending[ref] = _Pending(frame, deletes, once)

    def drop(self, ref: str) -> None:
        """Nobody waits for the answer any more."""
        self._pending.pop(ref, None)

    def opened(self) -> None:
        """There is a new connection: everything is due."""
        for pending in self._pending.values():
            pending.due = 0.0

    def closed(self) -> list[Settled]:
        """The connection is gone, and with it the answers to what must not be said again."""
        refs = [ref for ref, pending in self._pending.items() if pending.once and pending.attempts]
        for ref in refs:
            del self._pending[ref]
        return [Settled(ref, Unanswered("the command")) for ref in refs]

    def due(self, now: float) -> list[bytes]:
        """The frames to write now, in order."""
        frames: list[bytes] = []
        for pending in self._pending.values():
            if pending.due <= now:
                pending.due = math.inf if pending.once else now + self._answer_s
                pending.attempts += 1
                frames.append(pending.frame)
        return frames

    def acked(self, ref: str, ack: AckPayload) -> Settled | None:
        """An answer. None where nobody waits for it (any more)."""
        return None if self._pending.pop(ref, None) is None else Settled(ref, ack)

    def refused(self, ref: str, error: ErrorPayload, now: float) -> Settled | None:
        """A refusal; None also where the same is tried again."""
        pending = self._pending.get(ref)
        if pending is None:
            return None
        if error.code in (_NOT_DONE if pending.once else _RETRYABLE):
            pending.attempts -= pending.once
            pending.due = now + (error.retry_after or 0.0) + self._rng.uniform(0.1, 1.0)
            return None
        del self._pending[ref]
        if pending.deletes and pending.attempts > 1 and error.code == "message_not_found":
            return Settled(ref, AckPayload("delete_message"))
        return Settled(ref, refusal(error))

    def too_large(self) -> Settled | None:
        """The server found a frame too large and closed: that can only be the largest that was written."""
        written = {ref: len(pending.frame) for ref, pending in self._pending.items() if pending.attempts}
        if not written:
            return None
        ref = max(written, key=written.__getitem__)
        del self._pending[ref]
        return Settled(ref, kind_of_code("too_large")("too_large", "the frame is too large for the service"))


def refusal(error: ErrorPayload) -> Refused:
    """The exception that stands for an ``error`` frame."""
    return kind_of_code(error.code)(
        error.code, error.error, retry_after_s=error.retry_after, messages=error.messages or ()
    )
