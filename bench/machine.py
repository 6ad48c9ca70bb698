"""The machine: which cores are used, what a process has cost so far, and what to say about it all."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import resource
import subprocess
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from msgspec import Struct

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_PACKAGES = ("litestar", "uvicorn", "uvloop", "SQLAlchemy", "asyncpg", "msgspec", "hiredis")


class Cores(Struct, frozen=True):
    """The two cores that everything runs on: servers on the first, the generator on the second where told so."""

    server: int
    generator: int

    @property
    def both(self) -> frozenset[int]:
        """For what is not pinned to one of them, PostgreSQL and Valkey included."""
        return frozenset((self.server, self.generator))


def take_cores() -> Cores:
    """Keep this process, and so all that it starts, to two cores. On a machine with one it shares that."""
    allowed = sorted(os.sched_getaffinity(0))
    cores = Cores(allowed[0], allowed[min(1, len(allowed) - 1)])
    os.sched_setaffinity(0, cores.both)
    return cores


@contextmanager
def pinned(cores: Collection[int]) -> Iterator[None]:
    """Keep this process to these cores for a while. What is started meanwhile stays there."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def raise_file_limit() -> int:
    """As many open files as this user may have; children inherit it. Returns the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def cpu_s(pid: int) -> float:
    """User and system time of a process since its start, in seconds; the kernel counts in hundredths."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def precise_cpu_s(pid: int) -> float:
    """The same of all threads that live, as the scheduler counts it: in nanoseconds, for differences that are small."""
    try:
        return sum(int(task.read_text().split()[0]) for task in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9
    except OSError:
        return cpu_s(pid)


def rss_bytes(pid: int) -> int:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES


class Machine(Struct, frozen=True):
    """Where a result comes from."""

    processor: str
    cores: int
    cores_used: int
    memory_gib: float
    system: str
    python: str
    versions: dict[str, str]
    revision: str


def describe(servers: dict[str, str]) -> Machine:
    """Describe this machine and what is installed; ``servers``: names and versions of the database and of Redis."""
    packages = {name.lower(): importlib.metadata.version(name) for name in _PACKAGES}
    return Machine(
        processor=_processor(),
        cores=os.cpu_count() or 1,
        cores_used=len(os.sched_getaffinity(0)),
        memory_gib=round(os.sysconf("SC_PHYS_PAGES") * _PAGE_BYTES / 2**30, 1),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        versions=servers | packages,
        revision=_git("describe", "--always", "--dirty"),
    )


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def _git(*words: str) -> str:
    return _output(("git", "-C", str(Path(__file__).parent), *words)) or "unknown"


def _output(command: Sequence[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
