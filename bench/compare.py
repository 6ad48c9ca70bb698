"""``python -m bench.compare REV_A REV_B``: two revisions of the service side by side, in turns, in one run.

Each revision is checked out as a git worktree in a temporary directory and runs with the packages of this environment,
on a database of its own. But for ``lone``, which is a latency, only what the service's process computes is compared, so
that it says something on a busy machine too.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from statistics import median

from bench.generator import LoadFailed
from bench.programs import NoCompiler
from bench.rig import Rig, opened, say
from bench.servers import ServerFailed
from bench.workloads.connections import STORM_CHATS, arrive, crowd
from bench.workloads.fanout import SIZE, WINDOW
from bench.workloads.lone import lone_sender
from bench.workloads.pairs import CLIENTS, paired
from bench.workloads.rooms import service_room

_ROOT = Path(__file__).parents[1]
_CONNECTS = 1000

Measure = Callable[[], float]


@contextmanager
def fanout(rig: Rig) -> Iterator[Measure]:
    """µs per delivery, one sender."""
    with service_room(rig, SIZE) as room:
        room.send(1, WINDOW, 100)
        yield lambda: room.send(1, WINDOW, 500).us_per_delivery


@contextmanager
def bursts(rig: Rig) -> Iterator[Measure]:
    """µs per delivery, ten senders."""
    with service_room(rig, SIZE) as room:
        room.send(10, WINDOW, 500)
        yield lambda: room.send(10, WINDOW, 2000).us_per_delivery


@contextmanager
def pairs(rig: Rig) -> Iterator[Measure]:
    """µs per message, 1,000 clients in chats of two."""
    with paired(rig) as crowded:
        crowded.room.send(CLIENTS, 1, 5000)
        yield lambda: crowded.room.send(CLIENTS, 1, 10_000).us_per_message


@contextmanager
def connects(rig: Rig) -> Iterator[Measure]:
    """µs per connect, to a fresh replica."""
    people = crowd(rig, _CONNECTS, STORM_CHATS)

    def measure() -> float:
        arrival = arrive(rig, people, in_flight=_CONNECTS)
        return arrival.server_cpu_s / arrival.count * 1e6

    yield measure


@contextmanager
def comebacks(rig: Rig) -> Iterator[Measure]:
    """µs per connect that resumes its chats, to a fresh replica."""
    people = crowd(rig, _CONNECTS, STORM_CHATS)

    def measure() -> float:
        arrival = arrive(rig, people, in_flight=_CONNECTS, resuming=True)
        return arrival.server_cpu_s / arrival.count * 1e6

    yield measure


@contextmanager
def memory(rig: Rig) -> Iterator[Measure]:
    """KiB per idle connection."""
    people = crowd(rig, _CONNECTS, STORM_CHATS)

    def measure() -> float:
        arrival = arrive(rig, people, in_flight=256)
        return arrival.grown_bytes / arrival.count / 1024

    yield measure


@contextmanager
def lone(rig: Rig) -> Iterator[Measure]:
    """µs from sending to the ack, of one sender on an idle system."""
    with lone_sender(rig) as median_ack_us:
        yield median_ack_us


_WORKLOADS: Mapping[str, Callable[[Rig], AbstractContextManager[Measure]]] = {
    "fanout": fanout,
    "bursts": bursts,
    "pairs": pairs,
    "connects": connects,
    "comebacks": comebacks,
    "memory": memory,
    "lone": lone,
}


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("revisions", nargs=2, metavar="REV", help="a commit, branch or tag, or . for the working tree")
    parser.add_argument("--rounds", type=int, default=5, help="of each workload and revision (default 5)")
    parser.add_argument("--only", action="append", choices=sorted(_WORKLOADS), help="may be repeated")
    given = parser.parse_args()
    try:
        with checked_out(given.revisions) as sources:
            compare(sources, given.revisions, given.only or list(_WORKLOADS), given.rounds)
    except (NoCompiler, ServerFailed, LoadFailed, subprocess.CalledProcessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def compare(sources: Sequence[Path], names: Sequence[str], workloads: Sequence[str], rounds: int) -> None:
    """Print a line for each workload: both medians, and the second over the first with its spread."""
    with opened() as bench:
        print(f"{'workload':10} {names[0]:>14} {names[1]:>14}   second over first")
        for workload in workloads:
            with ExitStack() as stack:
                measures = [
                    stack.enter_context(_WORKLOADS[workload](stack.enter_context(bench.rig(source))))
                    for source in sources
                ]
                values: list[list[float]] = [[], []]
                for at in range(rounds):
                    for which in (0, 1) if at % 2 == 0 else (1, 0):
                        values[which].append(measures[which]())
                    say(f"  {at + 1}/{rounds} {workload}: {values[0][-1]:.2f}, {values[1][-1]:.2f}")
            ratios = [second / first for first, second in zip(*values, strict=True)]
            print(
                f"{workload:10} {median(values[0]):14.2f} {median(values[1]):14.2f}   "
                f"{median(ratios):.3f} ({min(ratios):.3f} … {max(ratios):.3f})"
            )


@contextmanager
def checked_out(revisions: Sequence[str]) -> Iterator[list[Path]]:
    """The ``src`` directory of each revision. The worktrees are gone after this block."""
    with tempfile.TemporaryDirectory(prefix="chatapp-compare-") as directory, ExitStack() as stack:
        sources = []
        for at, revision in enumerate(revisions):
            if revision == ".":
                sources.append(_ROOT / "src")
                continue
            tree = Path(directory) / str(at)
            _git("worktree", "add", "--detach", "--quiet", str(tree), revision)
            stack.callback(_git, "worktree", "remove", "--force", str(tree))
            sources.append(tree / "src")
        yield sources


def _git(*words: str) -> None:
    subprocess.run(["git", "-C", str(_ROOT), *words], check=True, timeout=60)


if __name__ == "__main__":
    sys.exit(main())
