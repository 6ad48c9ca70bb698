"""HAProxy with the deployment's own configuration in front of some ports: this machine's ``haproxy``, or Docker's."""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from tests.ports import free_port

CONFIG = Path(__file__).parents[1] / "deploy" / "haproxy" / "haproxy.cfg"
IMAGE = "haproxy:3.2"
START_S = 20.0


def is_there() -> bool:
    """Whether it can be run here."""
    return shutil.which("haproxy") is not None or _docker_has_it()


def configuration(port: int, behind: Sequence[int], **timeouts: str) -> str:
    """The deployment's, but for where it listens, which replicas it knows, and some timeouts.

    One replica alone is checked every 100 ms, so that a test need not wait to see it come and go.
    """
    text = CONFIG.read_text()
    checks = r"inter 100ms \2" if len(behind) == 1 else r"\1 \2"
    changes = {
        r"^ *stats socket .*$": "",
        r"^ *stats timeout .*$": "",
        r"bind :8080": f"bind 127.0.0.1:{port}",
        r"server-template api- 32 api:8080 check (inter \S+) (.*) resolvers.*$": "\n    ".join(
            f"server api-{at} 127.0.0.1:{replica} check {checks}" for at, replica in enumerate(behind, 1)
        ),
        **{
            rf"^ *timeout {name.replace('_', '-')} .*$": f"    timeout {name.replace('_', '-')} {time}"
            for name, time in timeouts.items()
        },
    }
    for pattern, replacement in changes.items():
        text, count = re.subn(pattern, replacement, text, flags=re.MULTILINE)
        assert count, f"the configuration has no {pattern}"
    return text


@contextmanager
def haproxy(directory: Path, *behind: int, **timeouts: str) -> Iterator[int]:
    """Its port. ``timeouts``: such as ``http_request="2s"``."""
    port = free_port()
    file = directory / "haproxy.cfg"
    file.write_text(configuration(port, behind, **timeouts))
    name = f"chatapp-test-haproxy-{secrets.token_hex(4)}"
    in_docker = ["docker", "run", "--rm", "--name", name, "--network", "host", "-v", f"{file}:/haproxy.cfg:ro", IMAGE]
    binary = shutil.which("haproxy")
    command = [binary, "-db", "-f", str(file)] if binary else [*in_docker, "haproxy", "-db", "-f", "/haproxy.cfg"]
    with (directory / "haproxy.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            _wait_until_it_serves(port, process)
            yield port
        finally:
            if not binary:
                subprocess.run(["docker", "kill", name], check=False, capture_output=True)
            process.kill()
            process.wait(10)


@asynccontextmanager
async def in_front_of(*behind: int, directory: Path) -> AsyncIterator[int]:
    """The same, where the loop must go on meanwhile because it serves what is behind."""
    proxy = haproxy(directory, *behind)
    port = await asyncio.to_thread(proxy.__enter__)
    try:
        yield port
    finally:
        await asyncio.to_thread(proxy.__exit__, None, None, None)


def _wait_until_it_serves(port: int, process: subprocess.Popen[bytes]) -> None:
    """Until it has found what is behind it."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        assert process.poll() is None, "haproxy has ended"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as asking:
            asking.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            if b" 200 " in asking.recv(4096):
                return
        time.sleep(0.05)
    raise AssertionError("haproxy does not find what is behind it")


def _docker_has_it() -> bool:
    if shutil.which("docker") is None:
        return False
    with contextlib.suppress(subprocess.TimeoutExpired):
        found = subprocess.run(
            ["docker", "image", "inspect", IMAGE],
            check=False,
            capture_output=True,
            timeout=5,
        )
        return found.returncode == 0
    return False
