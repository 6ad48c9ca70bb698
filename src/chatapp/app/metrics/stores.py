"""Metrics of the ways to Redis and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from chatapp.app.metrics.family import Reading, counter, gauge, histogram
from chatapp.storage.standby import StandbyStats

if TYPE_CHECKING:
    from chatapp.app.replica import Replica

CONNECTED = gauge("bus_connected", "1 while the subscription of Redis is alive and a heartbeat comes back over it.")
DEGRADED = gauge(
    "degraded",
    "1 while Redis is away: sends succeed, and events of other replicas come from PostgreSQL within a second.",
    "Look at Redis.",
)
UNCONFIRMED = gauge(
    "bus_unconfirmed", "Payloads that wait to be published or confirmed.", "Redis is away, or slower than what comes."
)
TOPICS = gauge("bus_topics", "Topics that are subscribed.")
PUBLISHED = counter("bus_published", "Payloads that Redis confirmed. A heartbeat each second is among them.")
RETRIED = counter(
    "bus_retried", "Payloads published again, because they were not confirmed.", "Connections to Redis break."
)
DROPPED = counter(
    "bus_dropped",
    "Payloads given up, for the outbox was full or Redis' access rules refused them. Comparisons find what they were.",
    "Redis was away for long, or its ACL lacks the channels.",
)
HEARD = counter("bus_received", "Payloads that came from Redis.")
READS = counter("bus_reads", "Reads of the subscription. Payloads by reads says how much is handled at once.")
INTERRUPTIONS = counter("bus_interruptions", "Losses of the subscription.", "Redis restarts, or drops this client.")
ROUND_TRIP = histogram(
    "bus_round_trip_seconds",
    "Each second's heartbeat: out, through Redis and back in. The longest way that an event takes between replicas.",
    "High with low loop lag: Redis or the network. Else this replica is busy.",
)
POOL_SIZE = gauge("postgres_pool_size", "Connections that the pool may hold: postgres_db.pool_size.", "", "pool")
POOL_OPEN = gauge("postgres_pool_open", "Connections that are open.", "", "pool")
POOL_USED = gauge(
    "postgres_pool_in_use",
    "Connections in use. The writer keeps one.",
    "All in use for long: raise postgres_db.pool_size (and max_connections), or look for slow statements.",
    "pool",
)
POOL_WAITING = gauge(
    "postgres_pool_waiting",
    "Callers that wait for a connection, free or new.",
    "As chatapp_postgres_pool_in_use.",
    "pool",
)
POOL_TIMEOUTS = counter(
    "postgres_pool_timeouts",
    "Callers that got none within postgres_db.pool_timeout_s, and were answered 503.",
    "As chatapp_postgres_pool_in_use.",
    "pool",
)
POOL_OPENED = counter(
    "postgres_connections_opened",
    "Connections that were opened, or tried to be.",
    "Growing fast: PostgreSQL or something between ends them.",
    "pool",
)
POOL_WAIT = histogram(
    "postgres_pool_wait_seconds",
    "How long callers waited for a connection.",
    "As chatapp_postgres_pool_in_use.",
    "pool",
)
LOSSES = counter(
    "postgres_losses",
    "How often connections were lost, or the server behind them took no writes any more: all are opened anew then.",
    "Failovers, restarts, or a network that breaks.",
    "pool",
)
STANDBY = counter(
    "standby_queries",
    "Questions to the standby, by outcome: answered; behind or failed, and then the primary was asked.",
    "Mostly behind: the standby is too slow. failed: look at it. Without a standby there are none.",
    "outcome",
)
STANDBY_BEHIND = gauge(
    "standby_behind_seconds",
    "The standby has all that was committed until so many seconds ago; +Inf while nothing is known. No series without "
    "a standby.",
    "The standby replays slower than the primary writes: its disk, or a long query on it.",
)

FAMILIES = (
    CONNECTED,
    DEGRADED,
    UNCONFIRMED,
    TOPICS,
    PUBLISHED,
    RETRIED,
    DROPPED,
    HEARD,
    READS,
    INTERRUPTIONS,
    ROUND_TRIP,
    POOL_SIZE,
    POOL_OPEN,
    POOL_USED,
    POOL_WAITING,
    POOL_TIMEOUTS,
    POOL_OPENED,
    POOL_WAIT,
    LOSSES,
    STANDBY,
    STANDBY_BEHIND,
)


def collect(replica: Replica) -> Iterator[Reading]:
    """Their numbers."""
    status, stats = replica.bus.status, replica.bus.stats
    yield CONNECTED.of(status.connected)
    yield DEGRADED.of(not status.connected)
    yield UNCONFIRMED.of(status.unconfirmed)
    yield TOPICS.of(status.topics)
    yield PUBLISHED.of(stats.published)
    yield RETRIED.of(stats.retried)
    yield DROPPED.of(stats.dropped)
    yield HEARD.of(stats.received)
    yield READS.of(stats.reads)
    yield INTERRUPTIONS.of(stats.interruptions)
    yield ROUND_TRIP.of(stats.round_trip_s)
    standby = replica.standby
    pools = {("primary",): replica.database} | ({} if standby is None else {("standby",): standby.database})
    yield POOL_SIZE.by_all({name: d.connections.size() for name, d in pools.items()})
    yield POOL_OPEN.by_all({n: d.connections.checkedout() + d.connections.checkedin() for n, d in pools.items()})
    yield POOL_USED.by_all({name: d.connections.checkedout() for name, d in pools.items()})
    yield POOL_WAITING.by_all({name: d.pool_stats.waiting for name, d in pools.items()})
    yield POOL_TIMEOUTS.by_all({name: d.pool_stats.timeouts for name, d in pools.items()})
    yield POOL_OPENED.by_all({name: d.pool_stats.opened for name, d in pools.items()})
    yield POOL_WAIT.by_all({name: d.pool_stats.wait_s for name, d in pools.items()})
    yield LOSSES.by_all({name: d.losses for name, d in pools.items()})
    asked = StandbyStats() if standby is None else standby.stats
    yield STANDBY.by([("answered", asked.answered), ("behind", asked.behind), ("failed", asked.failed)])
    yield STANDBY_BEHIND.by_all({} if standby is None else {(): standby.behind_s})
