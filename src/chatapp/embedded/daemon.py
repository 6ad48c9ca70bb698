"""A server process that outlives whoever started it, and how to find it again.

The server inherits an open file with an exclusive ``flock`` on it, so the lock is held exactly as long as the server
(or any child of it) lives, and no longer, however it ends. Its process id stands in that file and is believed only
while the lock is held: a reused id, a crash or a reboot cannot deceive us.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import Struct

from chatapp.embedded import launch
from chatapp.embedded.errors import OwnServicesError

_POLL_S = 0.02
_LAUNCH_S = 20.0
_ATTEMPTS = 3
_PORT_CHOICES = 100
_LOG_LIMIT_BYTES = 4 * 1024 * 1024
_TAIL_LINES = 15


class User(Struct, frozen=True):
    """Who a command runs as."""

    uid: int
    gid: int


class Command(Struct, frozen=True):
    """A program with its arguments, run in the home directory. ``user`` None: as who we are."""

    argv: tuple[str, ...]
    user: User | None = None


class Daemon:
    """One server of a home directory. Its methods are called under the home's lock, by one process at a time."""

    def __init__(self, name: str, home: Path) -> None:
        """``name`` makes the files: ``<name>.lock`` and ``<name>.log``."""
        self.name = name
        self.log = home / f"{name}.log"
        self._home = home
        self._lock = home / f"{name}.lock"
        # Kept open, so that the server is found even after somebody removed the directory under it.
        self._probe = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def close(self) -> None:
        """Let go of the files. The server is not touched. May be called again."""
        if self._probe >= 0:
            os.close(self._probe)
            self._probe = -1

    def is_running(self) -> bool:
        """Whether any process of the server lives."""
        if not _try_lock(self._probe):
            return True
        fcntl.flock(self._probe, fcntl.LOCK_UN)
        return False

    def pid(self) -> int | None:
        """Tell the server's process id, None when it does not run or has not told it yet."""
        return int(os.pread(self._probe, 20, 0) or 0) or None if self.is_running() else None

    def ensure_running(self, prepare: Callable[[int], Command], is_ready: Callable[[], bool], timeout_s: float) -> None:
        """Return once the server is ready, whether it was running, had to be waited for or had to be started.

        ``prepare`` gets everything ready and returns the server's command; the file descriptor that it is given
        carries the lock and goes to all that it runs. It is called again when a server ended before it was ready.
        Raises OwnServicesError, with the end of the log, when that happened three times or it is not ready in time.
        """
        deadline = time.monotonic() + timeout_s
        attempts = 0
        while time.monotonic() < deadline:
            lease = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                if _try_lock(lease):
                    if attempts == _ATTEMPTS:
                        raise self.failure("ends as soon as it is started")
                    attempts += 1
                    os.ftruncate(lease, 0)  # the id of the last one must not be taken for that of a preparation
                    self._launch(prepare(lease), lease, "--detach", str(lease), timeout_s=_LAUNCH_S)
                elif is_ready():
                    return
            finally:
                os.close(lease)
            time.sleep(_POLL_S)
        raise self.failure(f"was not ready within {timeout_s:.0f} s")

    def run(self, command: Command, lease: int, stdin: str = "", timeout_s: float = 60.0) -> None:
        """Run a command that prepares the server, to its end, with its output in the log.

        Raises OwnServicesError, with the end of the log, when it fails or takes longer.
        """
        self._launch(command, lease, stdin=stdin, timeout_s=timeout_s)

    def stop(self, signals: Sequence[signal.Signals], patience_s: float) -> None:
        """End the server with the first signal, and with the next when it is still there after ``patience_s``.

        Raises OwnServicesError when it outlives them all.
        """
        for number in signals:
            if (pid := self.pid()) is not None:
                with contextlib.suppress(ProcessLookupError):
                    if os.getsid(pid) == pid:  # else it has just ended, and its children hold the lock for a moment
                        os.kill(pid, number)
            deadline = time.monotonic() + patience_s
            while self.is_running():
                if time.monotonic() > deadline:
                    break
                time.sleep(_POLL_S)
            else:
                return
        raise self.failure("does not end")

    def failure(self, what: str) -> OwnServicesError:
        """Make an error that says what is wrong with this server and quotes the end of its log."""
        try:
            lines = self.log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
        except OSError:
            lines = []
        return OwnServicesError("\n  ".join([f"The service's own {self.name} {what}. The end of {self.log}:", *lines]))

    def _launch(self, command: Command, lease: int, *options: str, timeout_s: float, stdin: str = "") -> None:
        if command.user is not None:
            options = (*options, "--user", f"{command.user.uid}:{command.user.gid}")
        with contextlib.suppress(FileNotFoundError):
            if self.log.stat().st_size > _LOG_LIMIT_BYTES:
                self.log.replace(self.log.with_suffix(".log.old"))
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            subprocess.run(  # noqa: S603
                [sys.executable, "-I", "-S", launch.__file__, *options, "--", *command.argv],
                input=stdin.encode(),
                stdout=log,
                stderr=log,
                cwd=self._home,
                env=_environment(),
                pass_fds=(lease,),
                start_new_session=True,
                timeout=timeout_s,
                check=True,
            )
        except (subprocess.SubprocessError, OSError) as error:
            raise self.failure(f"cannot be started ({Path(command.argv[0]).name} failed)") from error
        finally:
            os.close(log)


def free_port(preferred: int) -> int:
    """Find a TCP port of the loopback address that nothing listens at: the preferred one if it is free."""
    # Below the range that systems give to outgoing connections, so that none of these is there at the next start.
    choices = (random.randrange(20_000, 32_000) for _ in range(_PORT_CHOICES))  # noqa: S311
    for port in (preferred, *choices):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if port != 0:
                probe.bind(("127.0.0.1", port))
                return port
    raise OwnServicesError("no free port was found on 127.0.0.1")


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _environment() -> dict[str, str]:
    # PGPORT, PGDATA and their like would speak to our server; messages in another language to nobody.
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}
