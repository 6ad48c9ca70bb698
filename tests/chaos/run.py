"""``python -m tests.chaos.run --seconds 60 --seed N --replicas 3``: break a cluster under load, then judge it.

The seed decides who writes what and which faults come when; what the machine makes of it differs from run to run.
Exit status 1 where a promise was broken.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import random
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import msgspec
from msgspec import Struct

from tests.chaos.arena import Arena
from tests.chaos.checker import check
from tests.chaos.cluster import DEFAULT_COMMAND, Cluster
from tests.chaos.faults import faults
from tests.chaos.final_rows import read_database
from tests.chaos.history import Run
from tests.chaos.js import node
from tests.chaos.load import Crowd, Size
from tests.chaos.redis_sites import RedisMode
from tests.chaos.report import Report, summarise, table
from tests.chaos.violations import Fault, Violation

_AT_ONCE = 3
_FAULT_PATIENCE_S = 90.0
_ANSWER_PATIENCE_S = 30.0
_CONVERGENCE_LIMIT_S = 5.0
_CONVERGENCE_PATIENCE_S = 30.0
_SETTLE_S = 0.5
_POLL_S = 0.02


class Options(Struct, frozen=True):
    """What a run is told."""

    seconds: float
    seed: int
    replicas: int = 3
    fault_interval_s: float = 1.0
    """On average; at most three faults are under way at once."""
    redis: RedisMode = "single"
    only: tuple[str, ...] = ()
    """Names of faults; none means all of the mode."""
    size: Size = Size()
    command: Sequence[str] = DEFAULT_COMMAND
    logs: Path | None = None
    """Where the logs of the servers are copied to."""


async def run(options: Options) -> Report:
    """One run, from an empty directory to the verdict. Leaves nothing behind."""
    rng = random.Random(options.seed)
    async with Cluster(options.replicas, options.command, options.redis) as cluster:
        try:
            async with Crowd(cluster, options.size, rng) as crowd:
                return await _run(options, cluster, crowd, rng)
        finally:
            if options.logs is not None:
                options.logs.mkdir(parents=True, exist_ok=True)
                for log in cluster.directory.glob("*.log"):
                    shutil.copy(log, options.logs)


async def _run(options: Options, cluster: Cluster, crowd: Crowd, rng: random.Random) -> Report:
    violations: list[Violation] = []
    await converge(cluster, crowd, "at the start", violations)
    crowd.begin()
    arena = Arena(cluster, crowd, random.Random(rng.randrange(2**32)))
    done, failures = await _break(arena, options)
    healed = time.monotonic()
    await crowd.stop(_ANSWER_PATIENCE_S)
    await converge(cluster, crowd, "after the last fault", violations)
    convergence_s = time.monotonic() - healed
    if convergence_s > _CONVERGENCE_LIMIT_S:
        violations.append(Violation(Fault.STALLED, None, f"converged only after {convergence_s:.2f} s"))
    await asyncio.sleep(_SETTLE_S)  # for what is heard although it should not be
    failures += [repr(error) for error in crowd.failures()]
    failures += [
        f"{client.history.client} was told {client.unexpected}" for client in crowd.clients if client.unexpected
    ]
    database = await read_database(cluster)
    violations += check(Run(crowd.histories, crowd.membership, database))
    figures = {
        "seed": options.seed,
        "seconds": options.seconds,
        "replicas": options.replicas,
        "redis": options.redis,
        "faults": done,
        "convergence_s": convergence_s,
        "tracebacks": sum(replica.process.log.read_bytes().count(b"Traceback (") for replica in cluster.replicas),
        "failures": failures,
    }
    return msgspec.convert(figures | summarise(crowd.histories, violations), Report)


async def _break(arena: Arena, options: Options) -> tuple[dict[str, int], list[str]]:
    """Fault after fault until the time is over; returns when all of them are healed."""
    acts = faults(options.redis)
    names = options.only or tuple(acts)
    done: collections.Counter[str] = collections.Counter()
    failures: list[str] = []
    gate = asyncio.Semaphore(_AT_ONCE)

    async def inject(name: str) -> None:
        try:
            async with asyncio.timeout(_FAULT_PATIENCE_S):
                await acts[name](arena)
        except Exception as error:  # noqa: BLE001  (a run reports what broke it, and ends as it should)
            failures.append(f"{name}: {error!r}")
        finally:
            done[name] += 1
            gate.release()

    end = time.monotonic() + options.seconds
    deck: list[str] = []
    async with asyncio.TaskGroup() as group:
        while time.monotonic() < end:
            await gate.acquire()
            if not deck:
                deck = arena.rng.sample(names, k=len(names))
            group.create_task(inject(deck.pop()))
            pause_s = arena.rng.uniform(0.5, 1.5) * options.fault_interval_s
            await asyncio.sleep(max(0.0, min(pause_s, end - time.monotonic())))
    return dict(done), failures


async def converge(cluster: Cluster, crowd: Crowd, when: str, violations: list[Violation]) -> None:
    """Wait until everybody has everything that is in PostgreSQL; who has not in time is a violation."""
    last_seqs = {}
    for chat_id in {chat_id for client in crowd.clients for chat_id in client.follower.chats}:
        last_seqs[chat_id] = await cluster.last_seq(chat_id)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_CONVERGENCE_PATIENCE_S):
            while any(client.follower.missing(last_seqs) for client in crowd.clients):
                await asyncio.sleep(_POLL_S)
    for client in crowd.clients:
        missing = client.follower.missing(last_seqs)
        if missing:
            last = client.history.records[-1] if client.history.records else "nothing at all"
            detail = f"{client.history.client} has not everything {when}: {missing}; its last record is {last}"
            violations.append(Violation(Fault.STALLED, None, detail))


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.run", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="how long faults come (default 60)")
    parser.add_argument("--seed", type=int, default=None, help="repeat a run (default: a new one, printed)")
    parser.add_argument("--replicas", type=int, default=3)
    parser.add_argument("--clients", type=int, default=Size().clients)
    js_clients = 4 if node() is not None else 0
    parser.add_argument("--sdk", type=int, default=8, help="so many of them are chatapp.client (default 8)")
    parser.add_argument("--js", type=int, default=js_clients, help="so many are chatapp.js (default 4, 0 without node)")
    parser.add_argument("--chats", type=int, default=Size().chats)
    parser.add_argument(
        "--rate", type=float, default=Size().sends_per_s, help="messages a second, all clients together"
    )
    parser.add_argument("--interval", type=float, default=1.0, help="seconds between faults, on average")
    parser.add_argument("--redis", choices=get_args(RedisMode), default="single", help="how Redis is run")
    parser.add_argument("--only", action="append", help="only this fault; may be repeated")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--logs", type=Path, help="copy the logs of all servers into this directory")
    parser.add_argument("--command", type=shlex.split, default=DEFAULT_COMMAND, help="starts a replica")
    given = parser.parse_args()
    if unknown := set(given.only or ()) - set(faults(given.redis)):
        parser.error(
            f"no such fault: {', '.join(sorted(unknown))}; there are: {', '.join(sorted(faults(given.redis)))}"
        )
    if given.js and node() is None:
        parser.error("node with WebSockets (20.10 or newer) is needed for --js")
    size = Size(
        clients=given.clients,
        sdk_clients=given.sdk,
        js_clients=given.js,
        chats=given.chats,
        sends_per_s=given.rate,
    )
    options = Options(
        seconds=given.seconds,
        seed=random.randrange(2**31) if given.seed is None else given.seed,
        replicas=given.replicas,
        fault_interval_s=given.interval,
        redis=given.redis,
        only=tuple(given.only or ()),
        size=size,
        command=given.command,
        logs=given.logs,
    )
    print(f"seed {options.seed}", flush=True)
    report = asyncio.run(_until_stopped(options))
    print(table(report))
    if given.json is not None:
        given.json.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    return 0 if report.ok else 1


async def _until_stopped(options: Options) -> Report:
    """SIGTERM ends the run as Ctrl-C does: with all servers."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await run(options)


if __name__ == "__main__":
    sys.exit(main())
