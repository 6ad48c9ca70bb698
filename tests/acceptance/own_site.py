"""An empty directory in which replicas are started with nothing configured, so that they bring their own servers."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from chatapp.embedded.daemon import Daemon
from tests.acceptance.replicas import CHEAP_PASSWORDS, ReplicaProcess, wait_until

SERVERS = ("postgres", "valkey")


class OwnSite:
    """The directory, and all that was started in it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.home = directory / ".chatapp"
        self.replicas: list[ReplicaProcess] = []

    def begin(self) -> ReplicaProcess:
        """Start a replica, with a port and without any other setting that matters."""
        self.replicas.append(ReplicaProcess(self.directory, CHEAP_PASSWORDS))
        return self.replicas[-1]

    def running(self) -> list[str]:
        """The servers that run."""
        return [name for name in SERVERS if self._is_running(name)]

    def logs(self) -> str:
        """Everything that anything here has written."""
        paths = [*(replica.log for replica in self.replicas), *self.home.glob("*.log")]
        assert len(paths) >= len(self.replicas) + len(SERVERS)
        return "\n".join(path.read_text(errors="replace") for path in paths)

    def kill(self) -> None:
        """End what is left, as a loss of power does."""
        for replica in self.replicas:
            replica.kill()
        wait_until(self._is_dead)

    def _is_running(self, name: str) -> bool:
        with contextlib.closing(Daemon(name, self.home)) as daemon:
            return daemon.is_running()

    def _is_dead(self) -> bool:
        dead = True
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (entry / "cwd").readlink().is_relative_to(self.home):
                    os.kill(int(entry.name), signal.SIGKILL)
                    dead = False
        return dead


@contextlib.contextmanager
def own_services(directory: Path) -> Iterator[OwnSite]:
    """Use an empty directory; nothing that was started in it outlives this."""
    made = OwnSite(directory)
    try:
        yield made
    finally:
        made.kill()
