"""What is looked at every ten seconds: plain numbers, one JSON object a line."""

from __future__ import annotations

from msgspec import Struct


class ReplicaSample(Struct, frozen=True):
    """One replica. Counters are since its start."""

    rss_bytes: int
    """Resident memory: the least of the readings of each second since the sample before. What leaks stays in it, what
    a password hash takes for a moment (64 MiB) does not."""
    rss_worst_bytes: int
    """The most of these readings."""
    pss_bytes: int
    """As ``rss_bytes``, with what is shared divided among its users."""
    fds: int
    threads: int
    tasks: int
    connections: int
    backlog_bytes: int
    lag_p99_s: float
    """Of the loop's lag since the sample before, interpolated within its bucket."""
    lag_worst_s: float
    stored: int
    delivered: int
    slow_readers: int
    rate_limited: int
    http_5xx: dict[str, int]
    """Answers by status."""
    cpu_s: float


class Sample(Struct, frozen=True):
    """Everything at one moment."""

    at_s: float
    """Since the load began."""
    replicas: list[ReplicaSample]
    postgres_connections: int
    redis_bytes: int
    redis_clients: int
    ack_p50_s: float
    """Of the probe's sends since the sample before; as the three below."""
    ack_p99_s: float
    delivery_p50_s: float
    delivery_p99_s: float
    probes: int
    load: dict[str, int]
    """How often the load did what until now."""
