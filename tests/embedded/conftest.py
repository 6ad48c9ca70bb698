"""A directory in which replicas are started, and what one may do to them and to the servers they share."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import msgspec
import pytest

from chatapp.embedded import Endpoints, OwnServices
from chatapp.embedded.access import read_access, write_access
from chatapp.embedded.daemon import Daemon

ServerName = Literal["postgres", "valkey"]
SERVERS: tuple[ServerName, ...] = ("postgres", "valkey")


class Replica:
    """A process of its own that uses the servers."""

    def __init__(self, directory: Path, launcher: Sequence[str] = ()) -> None:
        script = str(Path(__file__).with_name("replica.py"))
        self.process = subprocess.Popen(
            [*launcher, sys.executable, script, str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            start_new_session=True,
        )

    def endpoints(self) -> Endpoints:
        """Where it found the servers; waits until it has."""
        assert self.process.stdout is not None
        return msgspec.json.decode(self.process.stdout.readline(), type=Endpoints)

    def leave(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self._end() == 0

    def interrupt_terminal(self) -> None:
        """What Ctrl-C does: a SIGINT to all of the terminal's process group."""
        os.killpg(self.process.pid, signal.SIGINT)
        assert self._end() == 0

    def kill(self) -> None:
        self.process.kill()
        self._end()

    def _end(self) -> int:
        status = self.process.wait(30)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        return status


class Site:
    """A start directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.home = directory / ".chatapp"
        self._replicas: list[Replica] = []

    def begin_replica(self, launcher: Sequence[str] = ()) -> Replica:
        """Start one without waiting for it."""
        self._replicas.append(Replica(self.directory, launcher))
        return self._replicas[-1]

    def replica(self, launcher: Sequence[str] = ()) -> tuple[Replica, Endpoints]:
        replica = self.begin_replica(launcher)
        return replica, replica.endpoints()

    def pid(self, server: ServerName) -> int | None:
        """The server's process id, None when it does not run."""
        daemon = Daemon(server, self.home)
        try:
            return daemon.pid()
        finally:
            daemon.close()

    def pids(self) -> list[int | None]:
        return [self.pid(server) for server in SERVERS]

    def kill_server(self, server: ServerName) -> None:
        pid = self.pid(server)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

    def kill_everything(self) -> None:
        """What a loss of power does: every process that was started here ends at once, and cleans up nothing."""
        for replica in self._replicas:
            if replica.process.returncode is None:
                replica.kill()
        wait_until(self._is_dead)

    def _is_dead(self) -> bool:
        dead = True
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (entry / "cwd").readlink().is_relative_to(self.home):
                    os.kill(int(entry.name), signal.SIGKILL)
                    dead = False
        return dead


def wait_until(condition: Callable[[], bool], timeout_s: float = 45.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.001)


@pytest.fixture
def sites() -> Iterator[Callable[[Path], Site]]:
    """Make a site of a directory; nothing that was started there outlives the test."""
    made: list[Site] = []

    def make(directory: Path) -> Site:
        made.append(Site(directory))
        return made[-1]

    yield make
    for site in made:
        site.kill_everything()


@pytest.fixture
def new_site(sites: Callable[[Path], Site], tmp_path: Path) -> Site:
    """A directory in which nothing was ever started."""
    return sites(tmp_path)


@pytest.fixture
def site(new_site: Site, settled_home: Path) -> Site:
    """A directory in which the servers ran before, which saves the second that it takes to make the data."""
    subprocess.run(["cp", "-a", settled_home, new_site.home], check=True)
    return new_site


@pytest.fixture(scope="session")
def settled_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("settled")
    with OwnServices(directory):
        pass
    home = directory / ".chatapp"
    for server in SERVERS:
        access = read_access(home / f"{server}.json")
        assert access is not None
        write_access(home / f"{server}.json", msgspec.structs.replace(access, port=0))  # each copy finds its own
    return home
