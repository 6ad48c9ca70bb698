"""What a replica is called, and what it tells to a roll call."""

from __future__ import annotations

import resource
import socket
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING

from chatapp.app.metrics.page import Crew
from chatapp.config import Settings
from chatapp.counting import Histogram
from chatapp.protocol.roll_call import ReplicaReport, Spread

if TYPE_CHECKING:
    from chatapp.app.replica import Replica


def replica_name(settings: Settings, port: int, crew: Crew) -> str:
    """Such as ``chat-1:8080``; of the first worker among several ``chat-1:8080/0``, as in the metrics' ``worker``."""
    name = settings.general.replica_name or f"{socket.gethostname()}:{port}"
    return f"{name}/{crew.worker}" if crew.workers > 1 else name


def report(replica: Replica) -> ReplicaReport:
    """How this replica does now. Cheap: it only reads counters."""
    hub, writer, pool = replica.hub, replica.writer, replica.database.pool
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return ReplicaReport(
        name=replica.name,
        version=_version(),
        started_at=replica.started_at,
        at=datetime.now(UTC),
        epoch=replica.epoch,
        draining=replica.gateway.draining,
        key_ids=replica.keyring.key_ids,
        bus_connected=replica.bus.status.connected,
        pool_connections=pool.size,
        connections_limit=replica.settings.limits.connections,
        open_files_limit=None if limit == resource.RLIM_INFINITY else limit,
        connections=len(hub.connections),
        users=len(hub.users),
        rooms=len(hub.rooms),
        sends_waiting=writer.waiting,
        loop_lag_s=replica.loop_lag.worst_s,
        messages_stored=writer.stats.stored,
        events_delivered=hub.stats.deliveries,
        gaps_found=hub.stats.gaps,
        slow_readers_dropped=hub.stats.slow,
        ack=_spread(replica.gateway.stats.send_to_ack_s),
        delivery=_spread(hub.passing.commit_to_delivery_s),
    )


def _spread(histogram: Histogram) -> Spread:
    return Spread(tuple(histogram.bounds), tuple(histogram.counts))


@cache
def _version() -> str:
    return version("chatapp")
