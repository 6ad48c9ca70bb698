"""``python -m tests.soak.run --minutes 20``: load, churn and hostile clients on two replicas: does anything grow?

Exit status 1 where something grew, broke, or was lost. What the well-behaved did and heard is kept in memory until the
end (about 100 MB an hour), and only then held against the rows.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import platform
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from tests.chaos.checker import check
from tests.chaos.cluster import Cluster
from tests.chaos.final_rows import read_database
from tests.chaos.history import Database, Run
from tests.chaos.load import Crowd, Size
from tests.chaos.report import summarise
from tests.chaos.run import converge
from tests.chaos.violations import Violation
from tests.soak.account import make_chat, register, rest
from tests.soak.churn import Churn
from tests.soak.hostile import ATTACKS, Hostile
from tests.soak.probe import Probe
from tests.soak.results import Results, table, write
from tests.soak.sample import Sample
from tests.soak.verdict import Line, judge
from tests.soak.watch import Watch

SETTINGS = {"CHATAPP_LOGGER__FORMAT": "json", "CHATAPP_LOGGER__LOG_LEVEL": "info"}
"""All else is as the service has it: rate limits, costs of passwords, backlog, heartbeat."""
_RESET_S = 1.5
_FLAP_S = 7.0
_PATIENCE_S = 30.0
_MEMBERS = "members"


class Options(Struct, frozen=True):
    """What a run is told."""

    seconds: float
    seed: int
    samples: Path
    """A file; a JSON object a line."""
    interval_s: float = 10.0
    size: Size = Size(sends_per_s=20.0, messages_limit=10**9)


class _Scene:
    """Everybody who does something."""

    def __init__(self, cluster: Cluster, crowd: Crowd, probe: Probe, rng: random.Random) -> None:
        ports = [replica.port for replica in cluster.replicas]
        self.probe = probe
        self.churn = Churn(ports, rng)
        self.hostile = Hostile(ports, rng, ATTACKS)
        self.own: Counter[str] = Counter()
        self._ended = False
        self._cluster, self._crowd, self._rng = cluster, crowd, rng

    def load(self) -> dict[str, int]:
        named = (("churn", self.churn.done), ("attack", self.hostile.done), ("crowd", self.own))
        statuses = {f"attack answered {status}": count for status, count in self.hostile.statuses.items()}
        return {f"{who}: {what}": count for who, done in named for what, count in done.items()} | statuses

    @contextlib.asynccontextmanager
    async def playing(self) -> AsyncIterator[list[asyncio.Task[None]]]:
        """All of it, ended when left."""
        tasks = [
            asyncio.create_task(part, name=name)
            for name, part in (
                ("probe", self.probe.run()),
                ("churn", self.churn.run()),
                ("hostile", self.hostile.run()),
                ("resets", self._reset()),
                (_MEMBERS, self._flap()),
            )
        ]
        try:
            yield tasks
        finally:
            self._ended = True
            for task in tasks:
                if task.get_name() != _MEMBERS:
                    task.cancel()
            # Whoever was removed is added again, or would never have everything.
            await asyncio.wait(tasks, timeout=_PATIENCE_S)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _reset(self) -> None:
        """Connections of the well-behaved break, and are resumed."""
        while True:
            await asyncio.sleep(self._rng.uniform(0.5, 1.5) * _RESET_S)
            links = list(self._rng.choice(self._cluster.replicas).proxy.links)
            if links:
                self._rng.choice(links).reset()
                self.own["connections reset"] += 1

    async def _flap(self) -> None:
        while not self._ended:
            await asyncio.sleep(self._rng.uniform(0.5, 1.5) * _FLAP_S)
            await self._crowd.remove_and_add(self._rng, self._rng.uniform(0.1, 1.0))
            self.own["removed and added"] += 1


async def run(options: Options) -> Results:
    """One run, from an empty directory to the verdict. Of the servers it leaves nothing."""
    rng = random.Random(options.seed)
    async with Cluster(2, settings=SETTINGS) as cluster, Crowd(cluster, options.size, rng) as crowd:
        violations: list[Violation] = []
        await converge(cluster, crowd, "at the start", violations)
        scene = _Scene(cluster, crowd, await _probe(cluster, rng), rng)
        crowd.begin()
        _say("everybody is there")
        failures: list[str] = []
        async with scene.playing() as tasks:
            watch = Watch(cluster, scene.probe, scene.load)
            tasks.append(asyncio.create_task(watch.run(), name="memory"))
            samples = await _watch(options, watch, tasks)
            failures += [f"{task.get_name()}: {_why(task)}" for task in tasks if task.done()]
        _say("nothing new is begun")
        await crowd.stop(_PATIENCE_S)
        _say("all is answered")
        await converge(cluster, crowd, "at the end", violations)
        _say("everybody has everything")
        failures += [repr(error) for error in crowd.failures()]
        failures += [f"{c.history.client} was told {c.unexpected}" for c in crowd.clients if c.unexpected]
        failures += [f"churn: {what} ({count})" for what, count in scene.churn.wrong.items()]
        failures += [f"probe: {what} ({count})" for what, count in scene.probe.refused.items()]
        violations += check(Run(crowd.histories, crowd.membership, await _rows_of(crowd, cluster)))
        figures = summarise(crowd.histories, violations)
        logs = [replica.process.log.read_bytes() for replica in cluster.replicas]
    broken = "; ".join(map(str, violations[:3]))
    verdict = [
        *judge(samples),
        _none(
            "tracebacks in the logs",
            [f"{log.count(b'Traceback (')} of one replica" for log in logs if b"Traceback (" in log],
        ),
        _none("errors in the logs", [f"{log.count(_ERROR)} of one replica" for log in logs if _ERROR in log]),
        _none("failures of the well-behaved", failures),
        Line("lost, doubled, reordered", f"{len(violations)} {broken}".strip(), "0", not violations),
    ]
    facts = {
        "machine": f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}",
        "date": datetime.now(UTC).date().isoformat(),
        "seconds": samples[-1].at_s,
        "seed": options.seed,
        "settings": SETTINGS,
        "violations": len(violations),
        "load": samples[-1].load,
    }
    kept = {name: figures[name] for name in ("acked", "heard", "connections")}
    return msgspec.convert(facts | kept | {"verdict": verdict, "samples": samples}, Results, from_attributes=True)


_ERROR = b'"level": "error"'


async def _rows_of(crowd: Crowd, cluster: Cluster) -> Database:
    """Those of the crowd's chats: of the others nobody keeps a record."""
    chats = {change.chat_id for change in crowd.membership}
    found = await read_database(cluster)
    return Database(
        messages=[row for row in found.messages if row.chat_id in chats],
        last_seqs={chat_id: seq for chat_id, seq in found.last_seqs.items() if chat_id in chats},
        members={member for member in found.members if member[0] in chats},
    )


def _say(what: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {what}", file=sys.stderr, flush=True)


async def _probe(cluster: Cluster, rng: random.Random) -> Probe:
    ports = cluster.replicas[0].port, cluster.replicas[1].port
    async with rest(ports[0]) as client:
        sender, hearer = [await register(client, name, rng) for name in ("probe-sender", "probe-hearer")]
        return Probe(sender, hearer, await make_chat(client, sender, hearer), ports)


async def _watch(options: Options, watch: Watch, tasks: list[asyncio.Task[None]]) -> list[Sample]:
    """Until the time is over, or one of the tasks is."""
    started = time.monotonic()
    samples: list[Sample] = []
    options.samples.parent.mkdir(parents=True, exist_ok=True)
    with options.samples.open("wb") as file:
        while (now := time.monotonic() - started) < options.seconds:
            due = min(options.interval_s * (len(samples) + 1), options.seconds)
            done, _ = await asyncio.wait(tasks, timeout=max(0.0, due - now), return_when=asyncio.FIRST_COMPLETED)
            samples.append(await watch.sample(time.monotonic() - started))
            file.write(msgspec.json.encode(samples[-1]) + b"\n")
            file.flush()
            if done:
                break
    return samples


def _why(task: asyncio.Task[None]) -> str:
    error = None if task.cancelled() else task.exception()
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return repr(error)


def _none(what: str, found: list[str]) -> Line:
    return Line(what, "; ".join(found[:5]) or "none", "none", not found)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.run", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument("--hours", type=float, default=0.0, help="added to the minutes; fractions are taken")
    parser.add_argument("--seed", type=int, default=None, help="default: a new one, printed")
    parser.add_argument("--rate", type=float, default=20.0, help="messages a second of the well-behaved together")
    parser.add_argument("--samples", type=Path, default=Path("build/soak/samples.jsonl"))
    parser.add_argument("--output", type=Path, default=Path("build/soak"), help="for results.json and plot.svg")
    parser.add_argument("--page", type=Path, default=None, help="write the figures between this page's markers")
    given = parser.parse_args()
    seconds = 60 * given.minutes + 3600 * given.hours or 1200.0
    seed = random.randrange(2**31) if given.seed is None else given.seed
    print(f"seed {seed}, {seconds / 60:g} minutes; samples in {given.samples}", flush=True)
    size = Size(sends_per_s=given.rate, messages_limit=10**9)
    results = asyncio.run(_until_stopped(Options(seconds, seed, given.samples, size=size)))
    write(results, given.output, given.page)
    print(table(results))
    return 0 if results.ok else 1


async def _until_stopped(options: Options) -> Results:
    """SIGTERM ends the run as Ctrl-C does: with all servers."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await run(options)


if __name__ == "__main__":
    sys.exit(main())
