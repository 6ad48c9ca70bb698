"""Bounds and times of the Redis bus, and what it counts."""

from __future__ import annotations

from msgspec import Struct, field

from chatapp.counting import Histogram


class RedisBusLimits(Struct, frozen=True, kw_only=True):
    """The defaults suit a Redis in the same data centre."""

    outbox_payloads: int = 100_000
    outbox_bytes: int = 16 * 1024 * 1024
    """Past either, the oldest payload that waits for being published is forgotten. In a cluster: for each master."""
    pipeline_payloads: int = 512
    pipeline_bytes: int = 1024 * 1024
    """What is sent at once and must be confirmed before more is sent."""
    publish_timeout_s: float = 1.0
    """Redis has not confirmed a pipeline: the connection is given up, what is unconfirmed is sent again."""
    connect_timeout_s: float = 1.0
    subscribe_timeout_s: float = 3.0
    """How long ``subscribe`` waits to be confirmed."""
    ping_timeout_s: float = 2.0
    heartbeat_interval_s: float = 1.0
    heartbeats_missed: int = 3
    """So many beats without an echo, and the subscriber's connection is taken for dead."""
    close_timeout_s: float = 1.0
    """How long ``close`` tries to publish what waits."""


class RedisBusStats(Struct, kw_only=True):
    """Counters since the start; they only grow."""

    published: int = 0
    """Payloads that Redis confirmed. Heartbeats count too."""
    retried: int = 0
    """Payloads that were sent and not confirmed, and so are sent again (and may arrive twice)."""
    dropped: int = 0
    """Payloads that were forgotten: past the outbox's bounds, refused by Redis' access rules, or after ``close``."""
    received: int = 0
    """Payloads that were given to the listener."""
    reads: int = 0
    """Calls of ``on_deliveries``."""
    interruptions: int = 0
    """How often the subscriber's connection was lost."""
    gaps: int = 0
    """Calls of ``on_gap``."""
    round_trip_s: Histogram = field(default_factory=Histogram)
    """Of each heartbeat: out over the publisher, through Redis, in over the subscriber."""
