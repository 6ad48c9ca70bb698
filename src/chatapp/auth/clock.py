"""The time, as a function that is handed in, so that tests can move it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Says what time it is, with a time zone."""


def utc_now() -> datetime:
    """Read the wall clock, in UTC."""
    return datetime.now(UTC)
