"""A host's processes: own services if none are configured, migrations, and one or several replicas on one port."""

from __future__ import annotations

import asyncio
import gc
import logging
import multiprocessing
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing.context import SpawnProcess
from pathlib import Path

import msgspec
import uvicorn
import uvloop
from sqlalchemy.exc import SQLAlchemyError
from uvicorn.supervisors import ChangeReload

from chatapp.app import logs
from chatapp.app.metrics.collector import collect
from chatapp.app.metrics.page import Crew, MetricsPage
from chatapp.app.metrics.text import render
from chatapp.app.replica import build
from chatapp.app.report import replica_name
from chatapp.app.rotation import KeySource, Rotation, forward, has_terminal, held_back
from chatapp.app.server import Application, Server, uvicorn_config
from chatapp.app.tls import ServerCertificate
from chatapp.app.tracing import check
from chatapp.config import Secret, Settings
from chatapp.embedded import ExtraNotInstalled, OwnServices, OwnServicesError, signing_key
from chatapp.errors import Unavailable
from chatapp.storage import migrate
from chatapp.tracing.opening import TracingNotInstalled

_log = logging.getLogger(__name__)

STARTUP_S = 30.0
"""How long a start waits for PostgreSQL."""
WORKER_STOP_S = 40.0
UNREAD_TIMEOUT_MS = 60_000
"""A client that takes nothing of what was sent to it for this long is gone, whatever else it says."""


def serve(
    settings: Settings, *, start_dir: Path, config_path: Path | None = None, workers: int = 1, reload: bool = False
) -> int:
    """Serve until a signal comes. ``config_path``: what the settings were loaded with, to read the keys anew.

    Returns the exit status: 0, or 1 when the service could not start.
    """
    logs.configure(settings.logger.log_level, settings.logger.format)
    with ExitStack() as stack:
        try:
            check(settings)
            if settings.has_own_services:
                settings = stack.enter_context(_with_own_services(settings, start_dir))
            configured_key = settings.auth.signing_key()
            key = configured_key or signing_key(start_dir)
            key_source = KeySource(config_path, start_dir if configured_key is None else None)
            listening = stack.enter_context(_listen(settings))
            uvloop.run(_migrate(settings))
        except (
            ExtraNotInstalled,
            OwnServicesError,
            OSError,
            TracingNotInstalled,
            Unavailable,
            SQLAlchemyError,
        ) as error:
            reason = getattr(error, "orig", None) or error
            print(f"error: the service could not start: {reason}", file=sys.stderr)  # noqa: T201
            return 1
        scheme = "https" if settings.general.tls_cert_file else "http"
        port = listening.getsockname()[1]
        host = "127.0.0.1" if settings.general.host in ("0.0.0.0", "::") else settings.general.host  # noqa: S104
        _log.info("chatapp listens on %s://%s:%d", scheme, host, port)
        work = partial(_work, settings, key, key_source)
        if reload:
            return _reload(work, listening)
        if workers > 1:
            return _supervise(work, listening, workers, stack.enter_context(_meeting_place()))
        return work([listening])


@contextmanager
def _with_own_services(settings: Settings, start_dir: Path) -> Iterator[Settings]:
    _log.warning("neither a database nor a Redis is configured: running PostgreSQL and Valkey in %s", ".chatapp/")
    with OwnServices(start_dir) as endpoints:
        yield msgspec.structs.replace(
            settings,
            postgres_db=msgspec.structs.replace(settings.postgres_db, url=Secret(endpoints.database_url)),
            redis=msgspec.structs.replace(settings.redis, url=Secret(endpoints.redis_url)),
        )


@contextmanager
def _listen(settings: Settings) -> Iterator[socket.socket]:
    """The port, taken before anything else is done, so that a second start fails early."""
    host = settings.general.host
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; every connection inherits it
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_TIMEOUT_MS)
        try:
            listening.bind((host, settings.general.port))
        except OSError as error:
            raise OSError(f"port {settings.general.port} cannot be used: {error.strerror}") from None
        listening.set_inheritable(True)
        yield listening


async def _migrate(settings: Settings) -> None:
    """Bring the schema up to date, waiting a while for a PostgreSQL that starts beside us."""
    deadline = asyncio.get_running_loop().time() + STARTUP_S
    while True:
        try:
            await migrate.upgrade(settings.postgres_db.sqlalchemy_url(), dict(settings.postgres_db.connect_args()))
        except (OSError, SQLAlchemyError):
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(0.5)
        else:
            return


def _work(
    settings: Settings,
    key: bytes,
    key_source: KeySource,
    sockets: Sequence[socket.socket] | None = None,
    crew: Crew | None = None,
) -> int:
    """One replica, to its end."""
    port = sockets[0].getsockname()[1] if sockets else settings.general.port
    name = replica_name(settings, port, crew or Crew())
    logs.configure(settings.logger.log_level, settings.logger.format, replica=name)
    # A process that was spawned beside others starts with the default handlers: uvicorn sets its own.
    return uvloop.run(_replica(settings, key, key_source, list(sockets or ()), crew or Crew(), name))


async def _replica(
    settings: Settings, key: bytes, key_source: KeySource, sockets: list[socket.socket], crew: Crew, name: str
) -> int:
    certificate = ServerCertificate.configured(settings.general)
    replica = await build(settings, key, name=name)
    metrics = MetricsPage(crew, lambda: render(collect(replica), crew.worker))
    async with replica.running(), Rotation(key_source, replica, certificate).running(), metrics.told_to_siblings():
        server = Server(uvicorn_config(settings, Application(replica, metrics), certificate), replica)
        _calm_the_collector()
        with server.capture_signals():
            # uvicorn raises the captured signals again at the end of this block, for whoever embeds it.
            await server._serve(sockets)
            server._captured_signals.clear()
        return 0 if server.started else 1


def _calm_the_collector() -> None:
    """Make the cycle collector look seldom, and never again at what was built.

    Connections and rooms live long, messages make no cycles: at Python's defaults the collector took an eighth of the
    time and found nothing (docs/benchmarks.md).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 1000)


# -- several processes ------------------------------------------------------------------------------------------------


def _reload(work: partial[int], listening: socket.socket) -> int:
    config = uvicorn.Config(
        "chatapp.app:serve", reload=True, reload_dirs=[str(Path(__file__).parents[1])], log_config=None
    )
    ChangeReload(config, target=partial(_reloaded, work), sockets=[listening]).run()
    return 0


def _reloaded(work: partial[int], sockets: list[socket.socket]) -> None:
    work(sockets)


@contextmanager
def _meeting_place() -> Iterator[str]:
    """A directory for the workers' own sockets, which nobody else can enter; empty if none can be made."""
    base = tempfile.gettempdir()
    if len(base) > 60:  # a Unix socket's path holds 108 bytes
        base = "/tmp"  # noqa: S108 (mkdtemp makes the name)
    with ExitStack() as stack:
        try:
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="chatapp-", dir=base))
        except OSError as error:
            _log.warning("each worker tells its own metrics only, for there is no directory to meet in: %s", error)
            directory = ""
        yield directory


def _supervise(work: partial[int], listening: socket.socket, count: int, meeting_place: str) -> int:
    """Keep ``count`` processes alive until a signal comes; they share the listening socket."""
    stop = threading.Event()
    at_once = threading.Event()

    def on_signal(number: int, frame: object) -> None:
        (at_once if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    context = multiprocessing.get_context("spawn")

    def spawn(at: int) -> SpawnProcess:
        process = context.Process(target=_worker, args=(work, listening, Crew(at, count, meeting_place)))
        with held_back():
            process.start()
        return process

    reread = threading.Event()
    signal.signal(signal.SIGHUP, on_signal if has_terminal() else lambda number, frame: reread.set())
    processes = [spawn(at) for at in range(count)]
    delay_s = 0.5
    while not stop.wait(0.5):
        if reread.is_set():
            reread.clear()
            forward([process.pid for process in processes if process.pid is not None and process.is_alive()])
        for at, process in enumerate(processes):
            if process.is_alive():
                continue
            _log.error("a worker ended with status %s: starting another", process.exitcode)
            if stop.wait(delay_s):
                break
            delay_s = min(delay_s * 2, 10.0)
            processes[at] = spawn(at)
        else:
            delay_s = 0.5 if all(process.is_alive() for process in processes) else delay_s
    for process in processes:
        process.terminate()
    for process in processes:
        waited = 0.0
        while process.is_alive() and waited < WORKER_STOP_S and not at_once.is_set():
            process.join(0.2)
            waited += 0.2
        if process.is_alive():
            process.kill()
        process.join()
    return 0


def _worker(work: partial[int], listening: socket.socket, crew: Crew) -> None:
    sys.exit(work([listening], crew))
