"""Metrics of storing messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from chatapp.app.metrics.family import Reading, counter, gauge, histogram

if TYPE_CHECKING:
    from chatapp.app.replica import Replica

STORED = counter("messages_stored", "Messages that were newly stored.")
REPEATED = counter(
    "messages_repeated",
    "Sends that were answered with a message that was stored before, under the same nonce.",
    "Clients send again: acks come late, or connections break.",
)
REFUSED = counter(
    "messages_refused",
    "Sends refused at once because too many waited to be stored (503, overloaded).",
    "PostgreSQL is too slow for what comes: look at the statement's time, its disk and its locks.",
)
FAILED = counter(
    "messages_failed",
    "Sends answered with an error: PostgreSQL away, not a member, a nonce used for something else.",
    "With chatapp_comparisons_failed_total growing too it is PostgreSQL, else clients.",
)
CONTENDED = counter(
    "messages_contended",
    "Sends that left their group because their chat was locked by another replica or a long transaction.",
    "Some are normal where many write to one chat at several replicas.",
)
WAITING = gauge(
    "messages_waiting", "Messages handed to the writer and not answered yet.", "At 20,000 sends are refused."
)
GROUPS = histogram(
    "writer_group_messages",
    "Messages that one statement stored.",
    "Large groups are how a busy replica saves work; always near 512 means that PostgreSQL is the bottleneck.",
)
STATEMENT = histogram(
    "writer_statement_seconds",
    "One group's statement with its commit, there and back.",
    "PostgreSQL's disk (WAL), its locks, or the network to it.",
)
COMMIT = histogram(
    "send_to_commit_seconds",
    "From a message's being handed to the writer to its being known to be on disk. Newly stored ones only; by the "
    "replica's own clock.",
    "If the statement's time is not high too, messages wait for their turn: for a lock, or for a busy event loop.",
)

FAMILIES = (STORED, REPEATED, REFUSED, FAILED, CONTENDED, WAITING, GROUPS, STATEMENT, COMMIT)


def collect(replica: Replica) -> Iterator[Reading]:
    """Their numbers."""
    stats = replica.writer.stats
    yield STORED.of(stats.stored)
    yield REPEATED.of(stats.repeated)
    yield REFUSED.of(stats.refused)
    yield FAILED.of(stats.failed)
    yield CONTENDED.of(stats.contended)
    yield WAITING.of(replica.writer.waiting)
    yield GROUPS.of(stats.group_sizes)
    yield STATEMENT.of(stats.statement_s)
    yield COMMIT.of(stats.send_to_commit_s)
