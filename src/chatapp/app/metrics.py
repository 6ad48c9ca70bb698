"""Metrics: read from the parts' own counters when Prometheus asks, so that counting costs nothing on the way."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from chatapp.auth.passwords import Passwords
from chatapp.bus.opening import AnyRedisBus
from chatapp.gateway.following import Following
from chatapp.gateway.heartbeat import Heartbeat
from chatapp.gateway.hub import Hub
from chatapp.gateway.repair import Repair
from chatapp.storage.writer import MessageWriter


class ReplicaCollector(Collector):
    """One replica's numbers."""

    def __init__(
        self,
        hub: Hub,
        writer: MessageWriter,
        bus: AnyRedisBus,
        following: Following,
        repair: Repair,
        heartbeat: Heartbeat,
        passwords: Passwords,
    ) -> None:
        self._hub = hub
        self._writer = writer
        self._bus = bus
        self._following = following
        self._repair = repair
        self._heartbeat = heartbeat
        self._passwords = passwords

    def collect(self) -> Iterable[Metric]:
        """See ``prometheus_client``."""
        hub, writer, status = self._hub, self._writer, self._bus.status
        for name, text, gauge in (
            ("connections", "Open sockets.", len(hub.connections)),
            ("users_connected", "Users with an open socket.", len(hub.users)),
            ("rooms", "Chats that are followed here.", len(hub.rooms)),
            ("backlog_bytes", "What waits to be read by clients.", _backlog(hub)),
            ("writer_waiting", "Messages that wait to be stored.", writer.waiting),
            ("bus_connected", "1 while the bus answers.", int(status.connected)),
            ("bus_unconfirmed", "Payloads that wait to be published.", status.unconfirmed),
            ("bus_topics", "Topics that this replica is subscribed to.", status.topics),
            ("degraded", "1 while the bus is away and events come from PostgreSQL.", int(not status.connected)),
            ("loop_lag_seconds", "How late the event loop's last tick was.", self._heartbeat.lag_s),
            ("password_hashes_waiting", "Hashes that wait for a core.", self._passwords.waiting),
        ):
            yield GaugeMetricFamily(f"chatapp_{name}", text, value=gauge)
        for name, text, count in (
            ("writer_groups", "Statements that stored messages.", writer.stats.groups),
            ("messages_stored", "Messages that were stored.", writer.stats.stored),
            ("messages_repeated", "Sends that were answered with an earlier message.", writer.stats.repeated),
            ("messages_refused", "Sends that were refused because too many waited.", writer.stats.refused),
            ("messages_failed", "Sends that were answered with an error.", writer.stats.failed),
            ("events_received", "Events that came from the bus.", hub.stats.envelopes),
            ("events_delivered", "Events written to sockets.", hub.stats.deliveries),
            ("gaps_found", "Gaps that rooms found.", hub.stats.gaps),
            ("gaps_read", "Gaps that were read from PostgreSQL.", self._repair.stats.fills),
            ("events_repaired", "Events that came from PostgreSQL instead of the bus.", self._repair.stats.filled),
            ("rooms_behind", "Rooms that a comparison found behind.", self._repair.stats.behind),
            ("replays", "Replays to connections.", self._following.stats.replays),
            ("events_replayed", "Events written in replays.", self._following.stats.replayed),
            ("resyncs", "Replays that were refused because of the distance.", self._following.stats.resyncs),
            ("slow_readers_dropped", "Sockets closed because their backlog passed the limit.", hub.stats.slow),
            ("bus_retried", "Payloads that were published again.", self._bus.stats.retried),
            ("bus_dropped", "Payloads that were given up.", self._bus.stats.dropped),
        ):
            yield CounterMetricFamily(f"chatapp_{name}", text, value=count)


def _backlog(hub: Hub) -> int:
    return sum(connection.transport.backlog_bytes for connection in hub.connections if not connection.closing)


def registry(collector: ReplicaCollector) -> CollectorRegistry:
    """A registry of its own: the process-wide one belongs to whoever embeds us."""
    made = CollectorRegistry(auto_describe=False)
    made.register(collector)
    return made
