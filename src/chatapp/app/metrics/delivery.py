"""Metrics of delivering events, and of finding what was lost on the way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from chatapp.app.metrics.family import Reading, counter, gauge, histogram

if TYPE_CHECKING:
    from chatapp.app.replica import Replica

RECEIVED = counter("events_received", "Events heard for chats that are followed here, this replica's own included.")
EVENTS = counter(
    "events",
    "Events handed to followers here, by type, each once however many follow. Without replays.",
    "",
    "type",
)
DELIVERIES = counter(
    "deliveries",
    "The same, once for each socket.",
    "With the replica's CPU it gives the price of a delivery; see docs/benchmarks.md for what is usual.",
)
DELAY = histogram(
    "commit_to_delivery_seconds",
    "Of messages, once for each replica with followers: from the time in PostgreSQL that the message carries (taken "
    "in the writing statement, just before its commit) to its being handed to the sockets here. Read on PostgreSQL's "
    "clock, which a replica follows with an error of half a round trip (chatapp_postgres_clock_ahead_seconds); what "
    "would be below zero counts as zero. What was read after a gap is in it, replays to single clients are not.",
    "High at one replica: its event loop is busy. High at all but the writing one: Redis. Seconds: gaps, see below.",
)
CLOCK = gauge(
    "postgres_clock_ahead_seconds",
    "How far PostgreSQL's clock is ahead of this host's.",
    "More than some milliseconds: synchronise the hosts' clocks. Delivery does not depend on it.",
)
GAPS = counter(
    "gaps_found",
    "Gaps in the order of a chat, by who found them: bus, a later event came first; comparison, PostgreSQL was ahead.",
    "bus: replicas overtake each other, or Redis drops. comparison: Redis lost the last event, or is away.",
    "by",
)
REPAIRED = counter(
    "gaps_repaired",
    "Gaps that closed, and how: waiting, the missing event came late; reading, it was read from PostgreSQL.",
    "Mostly reading: Redis loses events (its output buffer, its network), or delivery.gap_wait_ms is too short.",
    "how",
)
OPEN_GAPS = gauge("gaps_open", "Chats here that miss something now.", "Not zero for long: PostgreSQL does not answer.")
FROM_POSTGRES = counter("events_repaired", "Events that came from PostgreSQL instead of Redis.")
COMPARED = counter("comparisons", "Comparisons of all chats' positions with PostgreSQL.")
COMPARE_FAILED = counter(
    "comparisons_failed", "Comparisons that PostgreSQL did not answer.", "PostgreSQL is away, or the pool is used up."
)
REPLAYS = counter("replays", "Replays to connections that came back.", "High after a restart, or with bad networks.")
REPLAYED = counter("events_replayed", "Events written in replays.")
RESYNCS = counter(
    "resyncs", "Replays refused because of the distance: the client pages over REST.", "See delivery.replay_limit."
)
MALFORMED = counter(
    "payloads_malformed", "Payloads on the bus that could not be read.", "Somebody else publishes to this Redis."
)

FAMILIES = (
    RECEIVED,
    EVENTS,
    DELIVERIES,
    DELAY,
    CLOCK,
    GAPS,
    REPAIRED,
    OPEN_GAPS,
    FROM_POSTGRES,
    COMPARED,
    COMPARE_FAILED,
    REPLAYS,
    REPLAYED,
    RESYNCS,
    MALFORMED,
)


def collect(replica: Replica) -> Iterator[Reading]:
    """Their numbers."""
    hub, repair, following = replica.hub, replica.repair.stats, replica.following.stats
    passing = hub.passing
    yield RECEIVED.of(hub.stats.envelopes)
    yield EVENTS.by([*((k.decode(), n) for k, n in passing.by_type.items()), ("other", passing.others)])
    yield DELIVERIES.of(hub.stats.deliveries)
    yield DELAY.of(passing.commit_to_delivery_s)
    yield CLOCK.of(hub.postgres_clock.ahead_s)
    yield GAPS.by([("bus", hub.stats.gaps), ("comparison", repair.behind)])
    yield REPAIRED.by([("waiting", hub.stats.gaps_closed), ("reading", repair.closed)])
    yield OPEN_GAPS.of(sum(live.room.has_gap for live in hub.rooms.values()))
    yield FROM_POSTGRES.of(repair.filled)
    yield COMPARED.of(repair.compares)
    yield COMPARE_FAILED.of(repair.failed)
    yield REPLAYS.of(following.replays)
    yield REPLAYED.of(following.replayed)
    yield RESYNCS.of(following.resyncs)
    yield MALFORMED.of(hub.stats.malformed)
