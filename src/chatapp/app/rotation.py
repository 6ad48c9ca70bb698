"""Changing signing keys and certificate while the service runs: on SIGHUP, and when a file that holds them changed."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from msgspec import Struct

from chatapp.app.replica import Replica
from chatapp.app.tls import ServerCertificate
from chatapp.auth.keys import SigningKey
from chatapp.config import ConfigError, Problem, load
from chatapp.config.environment import secret_files
from chatapp.embedded import OwnServicesError, signing_key
from chatapp.errors import Unavailable
from chatapp.services import audit
from chatapp.storage.audit import Actor, Details

_log = logging.getLogger(__name__)

LOOK_S = 2.0
"""How often files are looked at."""

Marks = tuple[tuple[int, int, int] | None, ...]


class KeySource(Struct, frozen=True):
    """Where a process reads its keys: the same file, variables and files of variables as at its start."""

    config_path: Path | None
    made_in: Path | None
    """Where a key was made, because none was configured at the start. Else one must be configured ever after."""

    def read(self) -> tuple[SigningKey, list[SigningKey]]:
        """The key that signs, and those that are accepted too. Raises ``ConfigError``, ``OwnServicesError``."""
        auth = load(self.config_path, os.environ).auth
        current = auth.signing_key()
        if current is None:
            if self.made_in is None:
                raise ConfigError([Problem("auth.paseto_key", "expected a key as at the start, found none", "")])
            current = signing_key(self.made_in)
        return SigningKey(current), [SigningKey(old) for old in auth.old_signing_keys()]

    def marks(self, environ: Mapping[str, str]) -> Marks:
        """What changes with the files that variables name. ``config.yaml`` is not among them: it takes a SIGHUP."""
        return tuple(_mark(path) for path in secret_files(environ, "auth"))


class Rotation:
    """One replica's keys and certificate, kept up to date. A change that is wrong is logged, and nothing changes."""

    def __init__(
        self,
        source: KeySource,
        replica: Replica,
        certificate: ServerCertificate | None = None,
        *,
        look_s: float = LOOK_S,
    ) -> None:
        self._source = source
        self._replica = replica
        self._certificate = certificate
        self._look_s = look_s
        self._asked = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Watch, until the block ends."""
        loop = asyncio.get_running_loop()
        _log.info("tokens are sealed with the key %s", ", and opened too with ".join(self._replica.keyring.key_ids))
        takes_signal = not has_terminal()
        if takes_signal:
            loop.add_signal_handler(signal.SIGHUP, self._asked.set)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # see ``held_back``
        task = loop.create_task(self._run(), name="rotation")
        try:
            yield
        finally:
            if takes_signal:
                loop.remove_signal_handler(signal.SIGHUP)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        seen = self._marks()
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._asked.wait(), self._look_s)
            marks = await asyncio.to_thread(self._marks)
            if self._asked.is_set() or marks != seen:
                self._asked.clear()
                seen = marks
                try:
                    if self._certificate is not None:
                        # Not in a thread: a handshake of the loop's could meet one file's half of the new pair.
                        self._certificate.read_anew()
                    await self._reload()
                except Exception:  # noqa: BLE001 (the next change may be better)
                    _log.exception("the keys could not be read; those in use stay")

    def _marks(self) -> tuple[Marks, Marks]:
        certificate = () if self._certificate is None else self._certificate.files
        return self._source.marks(os.environ), tuple(_mark(path) for path in certificate)

    async def _reload(self) -> None:
        try:
            current, old = await asyncio.to_thread(self._source.read)
        except (ConfigError, OwnServicesError) as error:
            _log.error("the keys stay as they are: %s", error)
            return
        keyring = self._replica.keyring
        before = keyring.key_ids
        keyring.change(current, old)
        if keyring.key_ids == before:
            return
        _log.warning("tokens are now sealed with the key %s", ", and opened too with ".join(keyring.key_ids))
        self._replica.gateway.check_revocations()  # the sockets whose key is accepted no more
        with suppress(Unavailable):
            async with self._replica.database.begin() as connection:
                actor = Actor("replica", socket.gethostname())
                await audit.note(connection, actor, "keys.changed", "keys", Details(key_ids=list(keyring.key_ids)))


def forward(pids: list[int]) -> None:
    """Pass the signal on to the processes of this host."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGHUP)


@contextmanager
def held_back() -> Iterator[None]:
    """Processes that are started meanwhile get SIGHUP once they watch their keys; before, it would end them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def has_terminal() -> bool:
    """Whether SIGHUP means that the terminal was closed, as it does where somebody tries the service by hand."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY))
    except OSError:
        return False
    return True


def _mark(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
