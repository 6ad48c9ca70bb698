"""What a run has: two cores, the C programs, PostgreSQL and Redis, one database, and servers and clients on demand."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TypeVar

from msgspec import Struct

from bench import servers
from bench.backing import Backing, backing, fresh_database, on_database
from bench.generator import Client, Generator, generating
from bench.machine import Cores, raise_file_limit, take_cores
from bench.programs import Programs, compile_programs
from bench.world import World

T = TypeVar("T")
_KEY = b"only for the benchmarks 32 bytes"


class Rig(Struct, frozen=True):
    """Of one database and one version of the service's code."""

    cores: Cores
    programs: Programs
    services: Backing
    database_url: str
    directory: Path
    source: Path | None
    """The ``src`` directory whose code is measured; None is what is installed."""

    def floor(self) -> AbstractContextManager[servers.Server]:
        """The C server, on the servers' core."""
        return servers.floor(self.programs.floor, {self.cores.server})

    def replica(self, cores: Collection[int] | None = None, **settings: str) -> AbstractContextManager[servers.Server]:
        """A replica of the service, on the servers' core unless told otherwise."""
        environment = {
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.services.redis_url,
            "PASETO_KEY": f"hex:{_KEY.hex()}",
            **settings,
        }
        return servers.replica(self.directory, environment, cores or {self.cores.server}, self.source)

    def clients(
        self, clients: Sequence[Client], cores: Collection[int] | None = None
    ) -> AbstractContextManager[Generator]:
        """Clients, on the generator's core unless told otherwise."""
        return generating(self.programs.load, clients, cores or {self.cores.generator})

    def furnish(self, act: Callable[[World], Awaitable[T]]) -> T:
        """Make users, chats and messages."""
        return on_database(self.database_url, lambda connection: act(World(connection, _KEY)))


class Bench(Struct, frozen=True):
    """What rigs share."""

    cores: Cores
    programs: Programs
    services: Backing
    directory: Path

    @contextmanager
    def rig(self, source: Path | None = None) -> Iterator[Rig]:
        """A rig with a database of its own, migrated by the code that is measured."""
        with fresh_database(self.services.database_url) as url:
            rig = Rig(self.cores, self.programs, self.services, url, self.directory, source)
            with rig.replica():
                pass
            rig.furnish(World.separate)
            yield rig


@contextmanager
def opened() -> Iterator[Bench]:
    """Everything that a run needs, on two cores; ended and removed in the end, but for what was given."""
    cores = take_cores()
    raise_file_limit()
    with tempfile.TemporaryDirectory(prefix="chatapp-bench-") as directory, backing() as services:
        yield Bench(cores, compile_programs(Path(directory)), services, Path(directory))


def say(text: str) -> None:
    """Tell how far the run is."""
    print(text, file=sys.stderr, flush=True)
