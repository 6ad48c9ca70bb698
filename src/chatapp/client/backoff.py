"""When to come back: full jitter, so that those who lost the same replica do not return at the same moment."""

from __future__ import annotations

import random

from msgspec import Struct


class Timing(Struct, frozen=True, kw_only=True):
    """The waits of a session, in seconds."""

    open_s: float = 10.0
    """For the handshake and ``ready``."""
    answer_s: float = 10.0
    """For the answer to a command; then it is sent again."""
    silence_s: float = 20.0
    """Nothing heard for so long: ``ping``. Stays below half of what the server allows (25 s by default)."""
    pong_s: float = 10.0
    """Nothing heard for so long after the ping: the connection is dead."""
    stalled_s: float = 30.0
    """A resume that makes no progress for so long is begun again on another connection."""
    settled_s: float = 10.0
    """A connection that lasted so long starts the backoff anew."""
    backoff_start_s: float = 1.0
    backoff_cap_s: float = 30.0
    restart_spread_s: float = 5.0
    """After a replica that closed with 1012 without saying when to return."""
    tick_s: float = 0.25
    """How often the clock is looked at."""


class Loss(Struct, frozen=True):
    """Why there is no connection: a close ``code``, a ``status`` in place of the upgrade, or neither."""

    reason: str
    code: int | None = None
    status: int | None = None
    retry_after_s: float | None = None
    at_once: bool = False
    """It was this client that wanted another connection."""


def full_jitter(failures: int, start_s: float, cap_s: float, rng: random.Random) -> float:
    """A pause before the attempt after so many (0: one) failures in a row."""
    return rng.uniform(0.0, min(cap_s, start_s * 2.0 ** min(failures, 30)))


def pause_s(loss: Loss, failures: int, going_away_s: float | None, timing: Timing, rng: random.Random) -> float:
    """How long to wait before the next connection. ``going_away_s``: what the draining replica asked for."""
    if loss.at_once:
        return 0.0
    if going_away_s is not None and failures == 0:
        return going_away_s
    if loss.code == 1012 and failures == 0:
        return rng.uniform(0.0, timing.restart_spread_s)
    pause = full_jitter(failures, timing.backoff_start_s, timing.backoff_cap_s, rng)
    if loss.retry_after_s is not None:
        return loss.retry_after_s + pause
    return pause + (timing.restart_spread_s if loss.code == 4429 else 0.0)
