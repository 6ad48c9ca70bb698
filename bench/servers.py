"""What is measured: replicas of the service, and the floor."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from msgspec import Struct

from bench.machine import cpu_s, pinned, precise_cpu_s, rss_bytes
from chatapp.embedded.daemon import free_port

_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 30.0
_POLL_S = 0.05

# The service as it is installed, or with another checkout's sources before it.
_COMMAND = (sys.executable, "-c", "from chatapp.cli import main; main()", "server", "start")


class Server(Struct, frozen=True):
    """A process that listens on a port of 127.0.0.1."""

    pid: int
    port: int

    def cpu_s(self) -> float:
        """What it has computed since its start, in seconds."""
        return cpu_s(self.pid)

    def precise_cpu_s(self) -> float:
        """The same, for small differences."""
        return precise_cpu_s(self.pid)

    def rss_bytes(self) -> int:
        """Its resident memory."""
        return rss_bytes(self.pid)


class ServerFailed(Exception):
    """A server did not come up; the text is the end of its log."""


@contextmanager
def floor(program: Path, cores: Collection[int]) -> Iterator[Server]:
    """The C server that sends one ``send()`` for each delivery."""
    with pinned(cores):
        process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    with process:
        try:
            assert process.stdout is not None
            yield Server(process.pid, int(process.stdout.readline()))
        finally:
            process.kill()


@contextmanager
def replica(
    directory: Path, environment: Mapping[str, str], cores: Collection[int], source: Path | None = None
) -> Iterator[Server]:
    """One replica of the service, ready; ``source`` is the ``src`` directory of another checkout."""
    port = free_port(0)
    log = directory / f"replica-{port}.log"
    settings = {
        "PORT": str(port),
        "CHATAPP_GENERAL__HOST": "127.0.0.1",
        "CHATAPP_LOGGER__LOG_LEVEL": "warn",
        "CHATAPP_DELIVERY__DRAIN_S": "0",
        "CHATAPP_RATE_LIMITS__ENABLED": "false",
    }
    if source is None:  # another checkout may not know it
        settings["CHATAPP_DELIVERY__LAME_DUCK_S"] = "0"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("CHATAPP_", "PG"))}
    path = {"PYTHONPATH": str(source)} if source is not None else {}
    with log.open("wb") as output, pinned(cores):
        process = subprocess.Popen(
            [*_COMMAND, "-c", str(directory)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=directory,
            env=inherited | settings | path | dict(environment),
            start_new_session=True,
        )
    try:
        _wait_until_ready(process, port, log)
        yield Server(process.pid, port)
    finally:
        _end(process)


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        with suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/health/ready")
            if connection.getresponse().status == 200:
                return
        connection.close()
        time.sleep(_POLL_S)
    end = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
    raise ServerFailed(f"a replica did not become ready; the end of its log:\n{end}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
