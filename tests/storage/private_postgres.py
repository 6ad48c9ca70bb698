"""A PostgreSQL that a test may kill and promote, and standbys that stream from it. From the installed packages."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import asyncpg

from chatapp.embedded.daemon import Command, Daemon
from chatapp.embedded.postgres import _nobody, _programs
from tests.ports import free_port

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",  # what a killed process had written is still in the system's memory
    "wal_level": "replica",
    "max_connections": "60",
    "shared_buffers": "16MB",
    "wal_receiver_timeout": "5s",
    "wal_retrieve_retry_interval": "100ms",
}


class PrivatePostgres:
    """Listens on a port of its own, the same one after a restart. Its superuser needs no password."""

    def __init__(self, home: Path, name: str) -> None:
        self.port = free_port()
        self.daemon = Daemon(name, home)
        self.settings: dict[str, str] = {}
        self._data = home / name
        self._data.mkdir(mode=0o700)
        self._user = _nobody() if os.geteuid() == 0 else None
        if self._user is not None:
            os.chown(self._data, self._user.uid, self._user.gid)

    def url(self, *others: PrivatePostgres, options: str = "") -> str:
        """Its address; with others, that of whichever of them takes writes."""
        hosts = ",".join(f"127.0.0.1:{server.port}" for server in (self, *others))
        return f"postgresql://postgres@{hosts}/postgres{options}"

    def make(self) -> None:
        """Its data, from nothing."""
        options = ("--username=postgres", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C")
        self._run("initdb", "-D", str(self._data), *options)

    def copy(self, primary: PrivatePostgres) -> None:
        """Its data, as a standby of one that runs."""
        source = f"host=127.0.0.1 port={primary.port} user=postgres application_name={self.daemon.name}"
        self._run("pg_basebackup", "-D", str(self._data), "-d", source, "-R", "-X", "stream", "-c", "fast", "--no-sync")

    def start(self) -> None:
        (self._data / "postmaster.pid").unlink(missing_ok=True)  # a killed one may still be a process that nobody reaps
        settings = {**_SETTINGS, **self.settings, "port": str(self.port)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = self._command("postgres", "-D", str(self._data), *options)
        self.daemon.ensure_running(lambda lease: command, self._is_ready, 30)

    def kill(self) -> None:
        """As when its host dies: nothing is said to anybody."""
        self.daemon.stop((signal.SIGKILL,), patience_s=10)  # its children notice at once, and end

    def stop(self) -> None:
        self.daemon.stop((signal.SIGINT, signal.SIGQUIT), patience_s=10)

    async def execute(self, *statements: str) -> object:
        """As superuser, one by one; the first value of the last."""
        connection = await asyncpg.connect(self.url(), timeout=10)
        try:
            for statement in statements[:-1]:
                await connection.execute(statement)
            return await connection.fetchval(statements[-1])
        finally:
            await connection.close()

    def _is_ready(self) -> bool:
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and int(lines[0]) == self.daemon.pid() and lines[7].strip() == "ready"

    def _run(self, program: str, *arguments: str) -> None:
        lease = os.open(os.devnull, os.O_RDONLY)
        try:
            self.daemon.run(self._command(program, *arguments), lease)
        finally:
            os.close(lease)

    def _command(self, program: str, *arguments: str) -> Command:
        return Command((str(_programs() / program), *arguments), self._user)


@contextmanager
def pair() -> Iterator[tuple[PrivatePostgres, PrivatePostgres]]:
    """A primary, and the standby ``standby`` that streams from it."""
    home = Path(tempfile.mkdtemp(prefix="chatapp-postgres-"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        primary, standby = PrivatePostgres(home, "primary"), PrivatePostgres(home, "standby")
        for server in (primary, standby):
            stack.callback(server.daemon.close)
            stack.callback(server.daemon.stop, (signal.SIGQUIT, signal.SIGKILL), 10)
        primary.make()
        primary.start()
        standby.copy(primary)
        standby.start()
        yield primary, standby
