"""Metrics of connections and what they ask."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from chatapp.app.metrics.family import Reading, counter, gauge, histogram

if TYPE_CHECKING:
    from chatapp.app.replica import Replica

CONNECTIONS = gauge("connections", "Open sockets.", "Near the limit: add replicas.")
LIMIT = gauge("connections_limit", "Open sockets that this replica takes: limits.connections.")
USERS = gauge("users_connected", "Users with an open socket here.")
ROOMS = gauge("rooms", "Chats that somebody follows here.", "Each is a subscription of Redis and some kilobytes.")
ACCEPTED = counter(
    "connections_accepted",
    "Sockets that were accepted.",
    "A rate far above what is usual means that clients come back again and again: look at why connections are closed.",
)
REFUSED = counter(
    "handshakes_refused",
    "Handshakes that were refused, by HTTP status: 401 a bad token, 403 a foreign origin, 429 too many or too often, "
    "503 no room or draining.",
    "401: clients with old tokens, or another paseto_key at this replica. 503: add replicas.",
    "status",
)
SENT_AWAY = counter(
    "handshakes_sent_away",
    "Handshakes asked to come back later, and why: overloaded, too many waited for their start; full, "
    "limits.connections.",
    "overloaded after a restart is how a rush is spread. full: add replicas.",
    "why",
)
CLOSED = counter(
    "connections_closed",
    "Sockets that the server closed, by close code: 4401 the token ended, 4408 silent, 4409 slow reader, 4429 too "
    "many errors, 1012 drain.",
    "Many 4408: a proxy between drops idle connections (delivery.heartbeat_s), or the replicas are too busy.",
    "code",
)
SLOW = counter(
    "slow_readers_dropped",
    "Sockets closed because what waited for them passed limits.backlog_bytes (4409).",
    "A few are clients with bad networks. Many at once: bursts larger than the limit, or a network that is full.",
)
BACKLOG = gauge(
    "backlog_bytes",
    "What was written to all sockets here and not yet taken by the network.",
    "It is memory of this replica. Look for slow clients or a full network; they are dropped at limits.backlog_bytes.",
)
BACKLOG_WORST = gauge("backlog_worst_bytes", "The same, of the one socket that is furthest behind.")
COMMANDS = counter("commands", "Valid commands of clients, by type.", "What clients do; compare with usual.", "type")
ERRORS = counter(
    "command_errors",
    "Commands answered with an error, by its code.",
    "overloaded and unavailable are ours: look at PostgreSQL. The others are clients' mistakes.",
    "code",
)
ACK = histogram(
    "send_to_ack_seconds",
    "From the reading of a message from its socket to its ack being handed to the socket. (Over REST: "
    "chatapp_http_request_seconds.)",
    "Compare with chatapp_send_to_commit_seconds, which is the part of it that PostgreSQL has.",
)

FAMILIES = (
    CONNECTIONS,
    LIMIT,
    USERS,
    ROOMS,
    ACCEPTED,
    REFUSED,
    SENT_AWAY,
    CLOSED,
    SLOW,
    BACKLOG,
    BACKLOG_WORST,
    COMMANDS,
    ERRORS,
    ACK,
)


def collect(replica: Replica) -> Iterator[Reading]:
    """Their numbers."""
    hub, stats = replica.hub, replica.gateway.stats
    backlogs = [c.transport.backlog_bytes for c in hub.connections if not c.closing]
    yield CONNECTIONS.of(len(hub.connections))
    yield LIMIT.of(replica.settings.limits.connections)
    yield USERS.of(len(hub.users))
    yield ROOMS.of(len(hub.rooms))
    yield ACCEPTED.of(stats.accepted)
    yield REFUSED.by(stats.handshakes_refused.items())
    admission = replica.gateway.admission
    yield SENT_AWAY.by([("overloaded", admission.overloaded), ("full", admission.full)])
    yield CLOSED.by((int(code), count) for code, count in stats.closed.items())
    yield SLOW.of(hub.stats.slow)
    yield BACKLOG.of(sum(backlogs))
    yield BACKLOG_WORST.of(max(backlogs, default=0))
    yield COMMANDS.by((kind.__struct_config__.tag, count) for kind, count in stats.commands.items())
    yield ERRORS.by(stats.errors.items())
    yield ACK.of(stats.send_to_ack_s)
