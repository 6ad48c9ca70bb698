"""The replicas, as processes: started, started again when they were killed, and ended."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

import httpx
import msgspec

from chatapp.config import Settings

HOST = "127.0.0.1"
_POLL_S = 0.1
_READY_S = 90.0
_STOP_S = 30.0
_REST_S = 2.0
"""Before a killed replica comes back: long enough to be seen in the page."""
_PORT_CHOICES = 50


class DemoFailed(Exception):
    """The demo cannot go on. The text is for whoever started it."""


class Replica:
    """One replica on one port; a new process after each death."""

    def __init__(self, port: int, directory: Path) -> None:
        self.url = f"http://{HOST}:{port}"
        self.log = directory / f"replica-{port}.log"
        self._directory = directory
        self._settings = _settings(port)
        self._process: SpawnProcess | None = None

    @property
    def pid(self) -> int:
        """Of the process that serves now."""
        return (self._process and self._process.pid) or 0

    def start(self) -> None:
        """Start the process; ``ready`` tells when it answers."""
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(target=_serve, args=(self._settings, self._directory, self.log))
        self._process.start()

    @property
    def is_alive(self) -> bool:
        """Whether its process runs."""
        return self._process is not None and self._process.is_alive()

    async def ready(self) -> None:
        """Until it is ready to serve. Raises DemoFailed, with the end of its log, when it ends or takes too long."""
        async with httpx.AsyncClient(trust_env=False, timeout=5.0) as http:
            deadline = asyncio.get_running_loop().time() + _READY_S
            while self.is_alive and asyncio.get_running_loop().time() < deadline:
                with contextlib.suppress(httpx.TransportError):
                    if (await http.get(f"{self.url}/health/ready")).status_code == 200:
                        return
                await asyncio.sleep(_POLL_S)
        raise DemoFailed(f"the replica at {self.url} does not start. The end of its log:\n{self._end_of_log()}")

    def stop(self) -> None:
        """Ask it to drain and end."""
        if self._process is not None and self._process.is_alive():
            self._process.terminate()

    def wait(self) -> None:
        """Until it has ended, at most half a minute; then by force."""
        if self._process is None:
            return
        self._process.join(_STOP_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _end_of_log(self) -> str:
        with contextlib.suppress(OSError):
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-10:])
        return "(there is none)"


async def keep_alive(replicas: Sequence[Replica], tell: Callable[[str], None]) -> None:
    """Start again what was killed, until cancelled. Raises DemoFailed when one does not come back."""
    while True:
        await asyncio.sleep(_POLL_S)
        for replica in replicas:
            if not replica.is_alive:
                tell(f"The replica at {replica.url} was killed; it comes back in a moment.")
                await asyncio.sleep(_REST_S)
                replica.start()
                await replica.ready()
                tell(f"The replica at {replica.url} is back, as process {replica.pid}.")


def end(replicas: Sequence[Replica]) -> None:
    """End them all; the last one stops PostgreSQL and Valkey."""
    for replica in replicas:
        replica.stop()
    for replica in replicas:
        replica.wait()


def choose_ports(preferred: Sequence[int]) -> list[int]:
    """Free ports on the loopback, the preferred or the next above them. Raises DemoFailed when there are none."""
    chosen: list[int] = []
    for first in preferred:
        free = (port for port in range(first, first + _PORT_CHOICES) if port not in chosen and _is_free(port))
        if (port := next(free, None)) is None:
            raise DemoFailed(f"no free port was found from {first} on")
        chosen.append(port)
    return chosen


def _is_free(port: int) -> bool:
    # Also on all addresses: a service that listens there would answer beside us.
    for host in (HOST, "0.0.0.0"):  # noqa: S104
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                return False
    return True


def _settings(port: int) -> Settings:
    """The defaults, whatever the environment and the files here say: the demo must not touch a real service."""
    settings = Settings()
    return msgspec.structs.replace(
        settings,
        general=msgspec.structs.replace(settings.general, host=HOST, port=port),
        delivery=msgspec.structs.replace(settings.delivery, lame_duck_s=0.0),  # no load balancer is to be told
    )


def _serve(settings: Settings, directory: Path, log: Path) -> None:
    """In the new process."""
    from chatapp.app.serve import serve

    os.setsid()  # a Ctrl-C in the terminal is for the demo, which ends us in order
    _end_with_parent()
    with log.open("ab") as output:
        os.dup2(output.fileno(), sys.stdout.fileno())
        os.dup2(output.fileno(), sys.stderr.fileno())
    sys.exit(serve(settings, start_dir=directory))


def _end_with_parent() -> None:
    """End in order also when the demo itself is killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    sentinel = parent.sentinel

    def watch() -> None:
        wait([sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()
