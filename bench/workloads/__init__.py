"""What is measured: one function a question, by name in ``WORKLOADS``."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bench.results import Curve, Finding
from bench.rig import Rig
from bench.workloads import connections, fanout, growth, history, lone, pairs, replicas

Workload = Callable[[Rig, int], list[Finding | Curve]]
"""Takes a rig and how many rounds to run."""

WORKLOADS: Mapping[str, Workload] = {
    "fanout": fanout.one_sender,
    "bursts": fanout.bursts,
    "latency": fanout.latency,
    "pairs": pairs.run,
    "lone": lone.run,
    "idle": connections.idle,
    "storm": connections.storm,
    "comeback": connections.comeback,
    "history": history.run,
    "replicas": replicas.run,
    "grow-room": growth.room_size,
    "grow-chats": growth.chats_per_connection,
    "grow-rate": growth.messages_per_second,
}
