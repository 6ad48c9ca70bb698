"""Takes the samples: from ``/metrics``, ``/proc``, PostgreSQL and Redis."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx
import redis.asyncio
from prometheus_client.parser import text_string_to_metric_families

from tests.chaos.cluster import Cluster, Replica
from tests.soak.probe import Probe
from tests.soak.sample import ReplicaSample, Sample
from tests.soak.statistics import bucket_quantile, quantile

Buckets = dict[float, float]
_LAG = "chatapp_loop_lag_seconds_bucket"


class Scrape:
    """One answer of ``/metrics``: sums over the labels, and the series behind them."""

    def __init__(self, text: str) -> None:
        self.total: dict[str, float] = defaultdict(float)
        self.lag: Buckets = {}
        self.http_5xx: Counter[str] = Counter()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self.total[sample.name] += sample.value
                if sample.name == _LAG:
                    self.lag[float(sample.labels["le"])] = sample.value
                status = sample.labels.get("status", "")
                if sample.name == "chatapp_http_requests_total" and status >= "500":
                    self.http_5xx[status] += int(sample.value)


async def scrape(port: int) -> Scrape:
    """Ask a replica."""
    async with httpx.AsyncClient(trust_env=False, timeout=10.0) as client:
        return Scrape((await client.get(f"http://127.0.0.1:{port}/metrics")).raise_for_status().text)


def lag_quantile(before: Buckets, after: Buckets, share: float) -> float:
    """Of the loop's lag between two scrapes, in seconds."""
    return bucket_quantile([(bound, after[bound] - before.get(bound, 0)) for bound in sorted(after)], share)


class Watch:
    """Samples of one run. ``load`` tells how often what was done."""

    def __init__(self, cluster: Cluster, probe: Probe, load: Callable[[], Mapping[str, int]]) -> None:
        self._cluster = cluster
        self._probe = probe
        self._load = load
        self._lag: dict[int, Buckets] = {}
        self._memory: dict[int, list[tuple[int, int]]] = {}
        self._redis_url = cluster.redis.servers[0].url

    async def run(self) -> None:
        """Its task: reads the memory each second, for one password hash holds 64 MiB for a moment."""
        while True:
            for replica in self._cluster.replicas:
                self._memory.setdefault(replica.number, []).append(_memory(replica.process.pid))
            await asyncio.sleep(1.0)

    async def sample(self, at_s: float) -> Sample:
        """Look at everything, now."""
        replicas = [await self._replica(replica) for replica in self._cluster.replicas]
        async with self._cluster.database() as connection:
            connections = await connection.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = 'chatapp' AND backend_type = 'client backend'"
            )
        async with redis.asyncio.Redis.from_url(self._redis_url, protocol=2) as client:
            info = await client.info()
        taken = self._probe.take()
        return Sample(
            at_s=round(at_s, 1),
            replicas=replicas,
            postgres_connections=connections - 1,
            redis_bytes=info["used_memory"],
            redis_clients=info["connected_clients"] - 1,
            ack_p50_s=quantile(taken.ack_s, 0.5),
            ack_p99_s=quantile(taken.ack_s, 0.99),
            delivery_p50_s=quantile(taken.delivery_s, 0.5),
            delivery_p99_s=quantile(taken.delivery_s, 0.99),
            probes=len(taken.delivery_s),
            load=dict(sorted(self._load().items())),
        )

    async def _replica(self, replica: Replica) -> ReplicaSample:
        found, pid = await scrape(replica.port), replica.process.pid
        before = self._lag.get(replica.number, {})
        self._lag[replica.number] = found.lag
        status = _fields(Path(f"/proc/{pid}/status"))
        total = found.total
        memory = [*self._memory.pop(replica.number, []), _memory(pid)]
        return ReplicaSample(
            rss_bytes=min(rss for rss, _ in memory),
            rss_worst_bytes=max(rss for rss, _ in memory),
            pss_bytes=min(pss for _, pss in memory),
            fds=len(os.listdir(f"/proc/{pid}/fd")),
            threads=status["Threads"],
            tasks=int(total["chatapp_tasks"]),
            connections=int(total["chatapp_connections"]),
            backlog_bytes=int(total["chatapp_backlog_bytes"]),
            lag_p99_s=lag_quantile(before, found.lag, 0.99),
            lag_worst_s=total["chatapp_loop_lag_worst_seconds"],
            stored=int(total["chatapp_messages_stored_total"]),
            delivered=int(total["chatapp_deliveries_total"]),
            slow_readers=int(total["chatapp_slow_readers_dropped_total"]),
            rate_limited=int(total["chatapp_rate_limited_total"]),
            http_5xx=dict(found.http_5xx),
            cpu_s=total["process_cpu_seconds_total"],
        )


def _memory(pid: int) -> tuple[int, int]:
    """RSS and PSS, in bytes."""
    rollup = _fields(Path(f"/proc/{pid}/smaps_rollup"))
    return rollup.get("Rss", 0) * 1024, rollup.get("Pss", 0) * 1024


def _fields(path: Path) -> dict[str, int]:
    """The lines ``Name: number`` of a file; nothing where it cannot be read."""
    found = {}
    with contextlib.suppress(OSError):
        for line in path.read_text().splitlines():
            name, _, value = line.partition(":")
            if words := value.split():
                with contextlib.suppress(ValueError):
                    found[name] = int(words[0])
    return found
