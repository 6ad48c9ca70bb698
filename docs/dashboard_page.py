"""Grafana's dashboard, as the JSON that Grafana takes. Made here, because a panel is a line here and a page there."""

from __future__ import annotations

import json

from msgspec import Struct

_ALL = 'job="chatapp", instance=~"$instance"'
_WIDTH = 24
_RATE = "[$__rate_interval]"


class Panel(Struct, frozen=True):
    """One picture. Each query is an expression and what a line of it is called."""

    title: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    meaning: str = ""
    stat: bool = False


def rate(name: str, by: str = "", **labels: str) -> str:
    """What happens in a second."""
    chosen = ", ".join([_ALL, *(f'{label}=~"{value}"' for label, value in labels.items())])
    return f"sum{f' by ({by})' if by else ''} (rate({name}{{{chosen}}}{_RATE}))"


def total(name: str, by: str = "", how: str = "sum") -> str:
    """The sum over replicas, or by a label."""
    return f"{how}{f' by ({by})' if by else ''} ({name}{{{_ALL}}})"


def quantile(q: float, name: str, by: str = "") -> str:
    """Of a histogram."""
    return f"histogram_quantile({q}, sum by ({f'{by}, ' if by else ''}le) (rate({name}_bucket{{{_ALL}}}{_RATE})))"


def _both(name: str, *, what: str = "") -> tuple[tuple[str, str], ...]:
    return ((quantile(0.5, name), f"{what}half"), (quantile(0.99, name), f"{what}99 of 100"))


WORKER = "instance, worker"
AT = "{{instance}} {{worker}}"

ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    (
        "At a glance",
        (
            Panel("Replicas", ((f"sum(up{{{_ALL}}})", ""),), stat=True, meaning="That answer Prometheus."),
            Panel("Connections", ((total("chatapp_connections"), ""),), stat=True),
            Panel("Messages stored", ((rate("chatapp_messages_stored_total"), ""),), "cps", stat=True),
            Panel("Deliveries", ((rate("chatapp_deliveries_total"), ""),), "cps", stat=True),
            Panel("Ack, 99 of 100", ((quantile(0.99, "chatapp_send_to_ack_seconds"), ""),), "s", stat=True),
            Panel("Delivery, 99 of 100", ((quantile(0.99, "chatapp_commit_to_delivery_seconds"), ""),), "s", stat=True),
            Panel("Worst loop lag", ((total("chatapp_loop_lag_worst_seconds", how="max"), ""),), "s", stat=True),
            Panel(
                "Degraded", ((total("chatapp_degraded"), ""),), stat=True, meaning="Replicas for which Redis is away."
            ),
        ),
    ),
    (
        "What happens",
        (
            Panel("Connections", ((total("chatapp_connections", WORKER), AT),)),
            Panel("Messages stored", ((rate("chatapp_messages_stored_total", WORKER), AT),), "cps"),
            Panel("Commands by type", ((rate("chatapp_commands_total", "type"), "{{type}}"),), "cps"),
            Panel("Events by type", ((rate("chatapp_events_total", "type"), "{{type}}"),), "cps"),
            Panel("Deliveries to sockets", ((rate("chatapp_deliveries_total", WORKER), AT),), "cps"),
            Panel("HTTP by status", ((rate("chatapp_http_requests_total", "status"), "{{status}}"),), "reqps"),
        ),
    ),
    (
        "How long it takes",
        (
            Panel("Send to ack", _both("chatapp_send_to_ack_seconds"), "s", "Of messages over sockets."),
            Panel("Send to commit", _both("chatapp_send_to_commit_seconds"), "s"),
            Panel("Commit to delivery", _both("chatapp_commit_to_delivery_seconds"), "s", "On PostgreSQL's clock."),
            Panel("Writer's statement", _both("chatapp_writer_statement_seconds"), "s"),
            Panel(
                "Messages in a statement",
                (
                    (
                        f"{rate('chatapp_writer_group_messages_sum')} / {rate('chatapp_writer_group_messages_count')}",
                        "on average",
                    ),
                    (quantile(0.99, "chatapp_writer_group_messages"), "99 of 100"),
                ),
            ),
            Panel(
                "HTTP, 99 of 100, slowest routes",
                (
                    (
                        f"topk(6, {quantile(0.99, 'chatapp_http_request_seconds', 'method, route')})",
                        "{{method}} {{route}}",
                    ),
                ),
                "s",
            ),
        ),
    ),
    (
        "Replicas",
        (
            Panel("Loop lag, 99 of 100", ((quantile(0.99, "chatapp_loop_lag_seconds", WORKER), AT),), "s"),
            Panel("CPU", ((rate("process_cpu_seconds_total", WORKER), AT),), "percentunit", "1 is one core."),
            Panel("Memory", ((total("process_resident_memory_bytes", WORKER), AT),), "bytes"),
            Panel("Waiting for clients", ((total("chatapp_backlog_bytes", WORKER), AT),), "bytes", "Not read yet."),
            Panel("Sockets closed by us", ((rate("chatapp_connections_closed_total", "code"), "{{code}}"),), "cps"),
            Panel(
                "Refused",
                (
                    (rate("chatapp_messages_refused_total"), "sends"),
                    (rate("chatapp_handshakes_refused_total", "status"), "handshakes {{status}}"),
                    (rate("chatapp_rate_limited_total", "rate"), "rate {{rate}}"),
                    (rate("chatapp_password_hashes_refused_total"), "passwords"),
                ),
                "cps",
            ),
        ),
    ),
    (
        "What the bus lost, and how it was found",
        (
            Panel("Gaps found", ((rate("chatapp_gaps_found_total", "by"), "by {{by}}"),), "cps"),
            Panel("Gaps repaired", ((rate("chatapp_gaps_repaired_total", "how"), "by {{how}}"),), "cps"),
            Panel(
                "Events from PostgreSQL",
                (
                    (rate("chatapp_events_repaired_total"), "instead of Redis"),
                    (rate("chatapp_events_replayed_total"), "in replays"),
                ),
                "cps",
            ),
            Panel(
                "Slow readers and errors",
                (
                    (rate("chatapp_slow_readers_dropped_total"), "slow readers"),
                    (rate("chatapp_command_errors_total", "code"), "error {{code}}"),
                ),
                "cps",
            ),
        ),
    ),
    (
        "PostgreSQL, Redis, passwords",
        (
            Panel(
                "PostgreSQL connections",
                (
                    (total("chatapp_postgres_pool_in_use", "instance"), "in use {{instance}}"),
                    (total("chatapp_postgres_pool_open", "instance"), "open {{instance}}"),
                    (total("chatapp_postgres_pool_waiting", "instance"), "waiting {{instance}}"),
                ),
            ),
            Panel(
                "Wait for a connection, 99 of 100",
                ((quantile(0.99, "chatapp_postgres_pool_wait_seconds", "instance"), "{{instance}}"),),
                "s",
            ),
            Panel("Redis and back, 99 of 100", ((quantile(0.99, "chatapp_bus_round_trip_seconds", WORKER), AT),), "s"),
            Panel(
                "Publishes",
                (
                    (total("chatapp_bus_unconfirmed"), "waiting"),
                    (rate("chatapp_bus_retried_total"), "again in 1 s"),
                    (rate("chatapp_bus_dropped_total"), "given up in 1 s"),
                ),
            ),
            Panel(
                "Passwords",
                (
                    (total("chatapp_password_hashes_running"), "being hashed"),
                    (total("chatapp_password_hashes_waiting"), "waiting"),
                ),
            ),
            Panel("One hash", _both("chatapp_password_hash_seconds"), "s"),
        ),
    ),
)


def dashboard() -> str:
    """``deploy/observability/grafana/dashboards/chatapp.json``."""
    panels: list[dict[str, object]] = []
    y = 0
    for title, row in ROWS:
        panels.append(
            {
                "id": len(panels) + 1,
                "type": "row",
                "title": title,
                "collapsed": False,
                "panels": [],
                "gridPos": {"x": 0, "y": y, "w": _WIDTH, "h": 1},
            }
        )
        y += 1
        width, height = (3, 4) if row[0].stat else (_WIDTH // (4 if len(row) % 3 else 3), 7)
        for at, panel in enumerate(row):
            x = at * width
            place = {"x": x % _WIDTH, "y": y + x // _WIDTH * height, "w": width, "h": height}
            panels.append({"id": len(panels) + 1, "gridPos": place, **_panel(panel)})
        y += (len(row) * width + _WIDTH - 1) // _WIDTH * height
    return json.dumps(_frame(panels), indent=1) + "\n"


def _panel(panel: Panel) -> dict[str, object]:
    source = {"type": "prometheus", "uid": "prometheus"}
    targets = [
        {"refId": chr(ord("A") + at), "datasource": source, "expr": expr, "legendFormat": legend, "range": True}
        for at, (expr, legend) in enumerate(panel.queries)
    ]
    options: dict[str, object] = (
        {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "area"}
        if panel.stat
        else {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}}
    )
    custom = {} if panel.stat else {"custom": {"lineWidth": 1, "fillOpacity": 8, "showPoints": "never"}}
    return {
        "type": "stat" if panel.stat else "timeseries",
        "title": panel.title,
        "description": panel.meaning,
        "datasource": source,
        "targets": targets,
        "options": options,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, **custom}, "overrides": []},
    }


def _frame(panels: list[dict[str, object]]) -> dict[str, object]:
    instance = {
        "name": "instance",
        "label": "Replica",
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "prometheus"},
        "query": {"query": 'label_values(up{job="chatapp"}, instance)', "refId": "instance"},
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }
    return {
        "uid": "chatapp",
        "title": "chatapp",
        "description": "Made by docs/generate.py from docs/dashboard_page.py. Each metric: docs/metrics.md.",
        "tags": ["chatapp"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "templating": {"list": [instance]},
        "annotations": {
            "list": [
                {
                    "name": "Alerts",
                    "enable": True,
                    "datasource": {"type": "prometheus", "uid": "prometheus"},
                    "expr": 'ALERTS{alertstate="firing", alertname=~"Chatapp.*"}',
                    "titleFormat": "{{alertname}}",
                    "iconColor": "red",
                }
            ]
        },
        "panels": panels,
    }
