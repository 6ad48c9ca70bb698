"""Replicas as processes of their own, as an operator starts them: ``chatapp server start``."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

import httpx

from tests.ports import free_port

CHATAPP = str(Path(sys.executable).with_name("chatapp"))
KEY = "0123456789abcdef0123456789abcdef"
START_S = 60.0
STOP_S = 20.0
_POLL_S = 0.02
_OURS = ("PORT", "CONFIG_PATH", "DATABASE_URL", "REDIS_URL", "PASETO_KEY")

CHEAP_PASSWORDS = {
    "CHATAPP_AUTH__ARGON2_TIME_COST": "1",
    "CHATAPP_AUTH__ARGON2_MEMORY_KIB": "1024",
    "CHATAPP_AUTH__ARGON2_PARALLELISM": "1",
    "CHATAPP_AUTH__ARGON2_QUEUE": "1000",
}
"""For tests that register many users and are not about them."""


class ReplicaProcess:
    """One start of the service, in a process group of its own, with its output in a file."""

    def __init__(self, directory: Path, environment: Mapping[str, str], *options: str, port: int = 0) -> None:
        """Start it in this directory, with this environment on top of one that has no settings of ours."""
        self.port = port or free_port()
        self.log = directory / f"replica-{self.port}.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [CHATAPP, "server", "start", *options],
                cwd=directory,
                env={**bare_environment(), "PORT": str(self.port), **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def sockets_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    @property
    def output(self) -> str:
        """What it has written so far."""
        return self.log.read_text(errors="replace")

    def wait_ready(self) -> Self:
        """Until ``/health/ready`` says so."""
        wait_until(lambda: self.is_ready() or self.process.poll() is not None, START_S, self.log)
        assert self.process.poll() is None, f"it ended with {self.process.returncode}:\n{self.output}"
        return self

    def is_ready(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/health/ready", trust_env=False, timeout=3.0).status_code == 200
        return False

    def terminate(self) -> None:
        """Ask the process to stop, as an orchestrator does."""
        self.process.send_signal(signal.SIGTERM)

    def wait(self, timeout_s: float = STOP_S) -> int:
        """The exit status."""
        return self.process.wait(timeout_s)

    def kill(self) -> None:
        """kill -9, its workers too."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(STOP_S)


class Replicas:
    """Replicas over one PostgreSQL and one Redis."""

    def __init__(self, directory: Path, database_url: str, redis_url: str, **settings: str) -> None:
        self.directory = directory
        self.environment = {
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "PASETO_KEY": KEY,
            "CHATAPP_GENERAL__HOST": "127.0.0.1",
            "CHATAPP_RATE_LIMITS__ENABLED": "false",
            "CHATAPP_PRESENCE__ENABLED": "false",
            **CHEAP_PASSWORDS,
            **settings,
        }
        self.all: list[ReplicaProcess] = []

    def begin(self, *options: str, port: int = 0, **settings: str) -> ReplicaProcess:
        """Start one without waiting for it."""
        self.all.append(ReplicaProcess(self.directory, self.environment | settings, *options, port=port))
        return self.all[-1]

    def start(self, count: int, *options: str, **settings: str) -> Sequence[ReplicaProcess]:
        """Start some and wait until they are ready."""
        started = [self.begin(*options, port=0, **settings) for _ in range(count)]
        return [replica.wait_ready() for replica in started]

    @property
    def output(self) -> str:
        """What all of them wrote."""
        return "\n".join(replica.output for replica in self.all)

    def kill(self) -> None:
        """End all that are left."""
        for replica in self.all:
            replica.kill()


@contextlib.contextmanager
def replicas(directory: Path, database_url: str, redis_url: str, **settings: str) -> Iterator[Replicas]:
    """A directory to start replicas in; none outlives it."""
    made = Replicas(directory, database_url, redis_url, **settings)
    try:
        yield made
    finally:
        made.kill()


def bare_environment() -> dict[str, str]:
    """This process' environment without settings of the service, addresses of servers, or proxies."""
    return {
        name: text
        for name, text in os.environ.items()
        if name not in _OURS and not name.startswith(("PG", "CHATAPP_")) and not name.lower().endswith("_proxy")
    }


def wait_until(condition: Callable[[], bool], timeout_s: float = STOP_S, log: Path | None = None) -> None:
    """Look again and again, and fail when it takes too long."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain:\n{log.read_text() if log else ''}"
        time.sleep(_POLL_S)
