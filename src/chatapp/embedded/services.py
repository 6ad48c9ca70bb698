"""Joining and leaving the own servers: the first replica in a directory starts them, the last one stops them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from msgspec import Struct

from chatapp.embedded.access import read_access
from chatapp.embedded.daemon import Daemon
from chatapp.embedded.errors import OwnServicesError
from chatapp.embedded.files import private_home
from chatapp.embedded.postgres import Postgres
from chatapp.embedded.valkey import Valkey

_LOCK_TIMEOUT_S = 90.0
_POLL_S = 0.05


class Endpoints(Struct, frozen=True):
    """Where the servers are. Both addresses contain a password."""

    database_url: str
    """``postgresql://chatapp:…@127.0.0.1:<port>/chatapp``"""
    redis_url: str
    """``redis://:…@127.0.0.1:<port>/0``"""


class OwnServices:
    """The PostgreSQL and the Valkey of one directory, shared by all replicas that are started there.

    Once per host and before there is an event loop: everything here blocks. The process that called ``start`` counts
    as a user for as long as it lives or until ``stop``; its workers do not count. Replicas may be killed: the servers
    then go on without, until one that started later stops as the last. Servers may be killed: the next ``start``
    brings them back at the same addresses.
    """

    def __init__(self, directory: Path) -> None:
        """Nothing is touched before ``start``."""
        self._directory = directory
        self._joined: _Joined | None = None

    def __enter__(self) -> Endpoints:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> Endpoints:
        """Join the servers, starting what does not run. About half a second, the first time in a directory two.

        Raises ExtraNotInstalled when the packages are missing and OwnServicesError when anything else prevents it.
        """
        if self._joined is not None:
            raise OwnServicesError("the own servers were started already")
        joined = _Joined(private_home(self._directory))
        try:
            endpoints = joined.enter()
        except BaseException:
            joined.close()
            raise
        self._joined = joined
        return endpoints

    def stop(self) -> None:
        """Leave the servers, and stop them if nobody else uses them. Does nothing without a ``start``.

        Raises OwnServicesError when they do not end.
        """
        if self._joined is not None:
            joined, self._joined = self._joined, None
            try:
                joined.leave()
            finally:
                joined.close()


def find_running(directory: Path) -> Endpoints | None:
    """The own servers of a directory, if both run; nothing is made, started or kept. They may stop at any moment."""
    home = directory.absolute() / ".chatapp"
    addresses = [read_access(home / f"{name}.json") for name in ("postgres", "valkey")]
    if None in addresses or not all(_is_running(home, name) for name in ("postgres", "valkey")):
        return None
    postgres, valkey = (address for address in addresses if address is not None)
    return Endpoints(
        f"postgresql://chatapp:{postgres.password}@127.0.0.1:{postgres.port}/chatapp",
        f"redis://:{valkey.password}@127.0.0.1:{valkey.port}/0",
    )


def _is_running(home: Path, name: str) -> bool:
    with contextlib.closing(Daemon(name, home)) as daemon:
        return daemon.is_running()


class _Joined:
    """The open files of a user of the servers."""

    def __init__(self, home: Path) -> None:
        self._home = home
        with contextlib.ExitStack() as opened:
            self._postgres = Postgres(home)
            opened.callback(self._postgres.daemon.close)
            self._valkey = Valkey(home)
            opened.callback(self._valkey.daemon.close)
            self._lock = _open(home / "lock", opened)
            self._users = _open(home / "users", opened)
            self._opened = opened.pop_all()

    def enter(self) -> Endpoints:
        with self._alone():
            fcntl.flock(self._users, fcntl.LOCK_SH)
            try:
                return Endpoints(self._postgres.ensure_running(), self._valkey.ensure_running())
            except BaseException:
                self._stop_if_unused()
                raise

    def leave(self) -> None:
        with self._alone():
            self._stop_if_unused()

    def close(self) -> None:
        self._opened.close()

    def _stop_if_unused(self) -> None:
        try:
            fcntl.flock(self._users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fcntl.flock(self._users, fcntl.LOCK_UN)
            return
        try:
            self._valkey.stop()
        finally:
            try:
                self._postgres.stop()
            finally:
                fcntl.flock(self._users, fcntl.LOCK_UN)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        deadline = time.monotonic() + _LOCK_TIMEOUT_S
        while True:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            if time.monotonic() > deadline:
                raise OwnServicesError(
                    f"another process has been starting or stopping the servers of {self._home} "
                    f"for {_LOCK_TIMEOUT_S:.0f} s"
                )
            time.sleep(_POLL_S)
        try:
            yield
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)


def _open(path: Path, opened: contextlib.ExitStack) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    opened.callback(os.close, fd)
    return fd
