"""Metrics of the process."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, ProcessCollector

from chatapp.app.metrics.family import Family, Reading, gauge, histogram

if TYPE_CHECKING:
    from chatapp.app.replica import Replica

BUILD = gauge(
    "build_info",
    "1, with what runs here.",
    "Two versions for long: a rollout got stuck.",
    "version",
    "python",
    "replica",
)
DRAINING = gauge("draining", "1 while this replica sends its clients elsewhere, to stop.")
LAG = histogram(
    "loop_lag_seconds",
    "How late the event loop was, asked ten times a second. Everything waits that long.",
    "The replica has more to do than its core can: add replicas. With low CPU: something blocks, or the host is "
    "overcommitted.",
)
WORST_LAG = gauge("loop_lag_worst_seconds", "The longest of the last 15 to 30 seconds.", "As chatapp_loop_lag_seconds.")
TASKS = gauge(
    "tasks",
    "Tasks of the event loop.",
    "It goes with connections and requests. One that grows while these do not is a leak.",
)
PROCESS = (
    Family(
        "gauge", "process_resident_memory_bytes", "Memory.", "Compare with docs/benchmarks.md: bytes by connection."
    ),
    Family("gauge", "process_virtual_memory_bytes", "Address space.", ""),
    Family(
        "counter", "process_cpu_seconds_total", "CPU time. One replica uses one core, and one each while hashing.", ""
    ),
    Family("gauge", "process_start_time_seconds", "When it started, in seconds since 1970.", "Often: it crashes."),
    Family("gauge", "process_open_fds", "Open files, sockets included.", "Near the limit: raise it (ulimit -n)."),
    Family("gauge", "process_max_fds", "The limit of open files.", ""),
)
"""prometheus-client's own."""

FAMILIES = (BUILD, DRAINING, LAG, WORST_LAG, TASKS, *PROCESS)


def collect(replica: Replica) -> Iterator[Reading]:
    """Their numbers."""
    yield BUILD.by_all({(_version(), platform.python_version(), replica.name): 1})
    yield DRAINING.of(replica.gateway.draining)
    yield LAG.of(replica.loop_lag.late_s)
    yield WORST_LAG.of(replica.loop_lag.worst_s)
    yield TASKS.of(len(asyncio.all_tasks()))
    found = {s.name: s.value for m in ProcessCollector(registry=CollectorRegistry()).collect() for s in m.samples}
    for family in PROCESS:
        if family.name in found:  # on Linux
            yield family.of(found[family.name])


@cache
def _version() -> str:
    return version("chatapp")
