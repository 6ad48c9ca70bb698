"""The PostgreSQL and the Valkey that the tests talk to: from the environment, from containers or from packages.

``DATABASE_URL`` and ``REDIS_URL`` are taken if given (``REDIS_URL`` only without ``-n``, for pub/sub knows no borders
between the processes of a run). Else a Docker engine is asked, if it answers and has or gets the images in time; else
the servers come from installed packages, the extra ``embedded``. ``CHATAPP_TEST_SERVICES=containers|wheels`` forces
one of the two. PostgreSQL is started once a run, by the process that controls it, and a Valkey for each of its
processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import secrets
import shutil
import tempfile
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

import msgspec
import pytest

if TYPE_CHECKING:
    from testcontainers.core.docker_client import DockerClient

Source = Literal["environment", "containers", "wheels"]

_POSTGRES_IMAGE = "postgres:18"
_VALKEY_IMAGE = "valkey/valkey:9"
_ENGINE_TIMEOUT_S = 10
_PULL_TIMEOUT_S = 120.0
_DROP_ATTEMPTS = 25
_DROP_TIMEOUT_S = 120.0
_STATEMENT_TIMEOUT_S = 30.0


class Plan(msgspec.Struct, frozen=True):
    """Where the servers come from; what a worker of a divided run gets from the process that controls it."""

    postgres: Source
    redis: Source
    home: str
    """A directory for servers from packages; the controlling process removes it."""
    database_server: str = ""
    """The address of the PostgreSQL that runs already, if it does."""


class Servers:
    """The servers of one process of a run. Each starts when it is first asked for."""

    def __init__(self, plan: Plan, description: str = "") -> None:
        self.description = description
        self._plan = plan
        self._redis_url = ""
        self._workers = 0
        self._started = contextlib.ExitStack()

    def databases(self) -> Databases:
        """Make databases on the run's PostgreSQL."""
        return Databases(self._database_server(), shared=self._plan.postgres == "environment")

    def redis_url(self) -> str:
        """The Redis or Valkey of this process."""
        if not self._redis_url:
            self._redis_url = self._start_redis()
        return self._redis_url

    def empty_redis(self) -> None:
        """Have nothing in this process's own Redis, if it runs. One that was given is left as it is."""
        if self._redis_url and self._plan.redis != "environment":
            from redis import Redis

            with Redis.from_url(self._redis_url) as redis:
                redis.flushall()

    def hand_down(self) -> str:
        """What a worker needs, as text: the same PostgreSQL, and where to have its own Valkey from."""
        self._workers += 1
        if self._plan.redis == "environment" and self._workers > 1:
            raise pytest.UsageError("REDIS_URL is one server and cannot be divided: unset it, or run without -n")
        self._database_server()
        return msgspec.json.encode(self._plan).decode()

    def close(self) -> None:
        """End what this process started."""
        self._started.close()

    def own_directory(self) -> None:
        """Remove the directory of the servers from packages at the end, and what a killed worker left running there."""
        self._started.callback(_remove_homes, Path(self._plan.home))

    def _database_server(self) -> str:
        if not self._plan.database_server:
            self._plan = msgspec.structs.replace(self._plan, database_server=self._start_postgres())
        return self._plan.database_server

    def _start_postgres(self) -> str:
        match self._plan.postgres:
            case "environment":
                return os.environ["DATABASE_URL"]
            case "containers":
                from testcontainers.community.postgres import PostgresContainer

                _disable_ryuk()
                password = secrets.token_urlsafe(16)
                container = PostgresContainer(_POSTGRES_IMAGE, 5432, "chatapp", password, "chatapp", driver=None)
                self._started.enter_context(container.with_command("-c max_connections=200"))
                return str(container.get_connection_url().replace("@localhost:", "@127.0.0.1:"))
            case "wheels":
                from chatapp.embedded.postgres import Postgres

                postgres = Postgres(self._home())
                self._started.callback(postgres.daemon.close)
                self._started.callback(postgres.stop)
                return postgres.ensure_running()

    def _start_redis(self) -> str:
        match self._plan.redis:
            case "environment":
                return os.environ["REDIS_URL"]
            case "containers":
                from testcontainers.community.valkey import ValkeyContainer

                _disable_ryuk()
                container = self._started.enter_context(ValkeyContainer(_VALKEY_IMAGE))
                host = container.get_host().replace("localhost", "127.0.0.1")
                return f"redis://{host}:{container.get_exposed_port()}/0"
            case "wheels":
                from chatapp.embedded.valkey import Valkey

                valkey = Valkey(self._home())
                self._started.callback(valkey.daemon.close)
                self._started.callback(valkey.stop)
                return valkey.ensure_running()

    def _home(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self._plan.home))


class Databases:
    """Databases of a PostgreSQL. Their names are unique, so that it may be shared with others."""

    def __init__(self, server_url: str, *, shared: bool) -> None:
        parts = urlsplit(server_url)
        self._server = parts._replace(scheme="postgresql")
        self._shared = shared
        self._made: list[str] = []

    def create(self, purpose: str = "fresh") -> str:
        """Make an empty database and return its address. Blocks, also when called on an event loop."""
        name = f"chatapp_test_{purpose}_{secrets.token_hex(4)}"
        self._execute(f"CREATE DATABASE {name}")
        self._made.append(name)
        return self._server._replace(path=f"/{name}").geturl()

    def drop_all(self) -> None:
        """Leave none of them behind, whoever may still be connected to them.

        The run's own server goes with all that is in it: each DROP would wait for a checkpoint first.
        """
        import asyncpg

        while self._shared and self._made:
            name = self._made.pop()
            for attempt in range(_DROP_ATTEMPTS):
                try:
                    self._execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)", _DROP_TIMEOUT_S)
                except asyncpg.InsufficientPrivilegeError:  # an autovacuum worker is in it, for a moment
                    if attempt == _DROP_ATTEMPTS - 1:
                        raise
                    time.sleep(0.2)
                else:
                    break

    def _execute(self, statement: str, timeout_s: float = _STATEMENT_TIMEOUT_S) -> None:
        import asyncpg

        async def execute() -> None:
            connection = await asyncpg.connect(self._server.geturl(), timeout=_STATEMENT_TIMEOUT_S)
            try:
                await connection.execute(statement, timeout=timeout_s)
            finally:
                await connection.close()

        with ThreadPoolExecutor(1) as thread:  # the caller's own may be running a loop
            thread.submit(asyncio.run, execute()).result()


def choose() -> Servers:
    """Decide where this run's servers come from."""
    forced = os.environ.get("CHATAPP_TEST_SERVICES", "")
    if forced not in ("", "containers", "wheels"):
        raise pytest.UsageError("CHATAPP_TEST_SERVICES is containers or wheels")
    given = {name for name in ("DATABASE_URL", "REDIS_URL") if os.environ.get(name) and not forced}
    own: Source = "wheels"
    description = "from installed packages"
    if forced != "wheels" and len(given) < 2:
        with warnings.catch_warnings(action="ignore", category=ResourceWarning):
            reason = _why_no_containers()
            gc.collect()  # docker-py forgets the socket of an engine that does not answer
        if reason is None:
            own, description = "containers", f"in containers ({_POSTGRES_IMAGE}, {_VALKEY_IMAGE})"
        elif forced:
            raise pytest.UsageError(f"CHATAPP_TEST_SERVICES=containers, but {reason}")
        else:
            description = f"{description} ({reason})"
    postgres: Source = "environment" if "DATABASE_URL" in given else own
    redis: Source = "environment" if "REDIS_URL" in given else own
    where = {"environment": "given in the environment", own: description}
    servers = Servers(
        Plan(postgres, redis, tempfile.mkdtemp(prefix="chatapp-tests-")),
        f"PostgreSQL {where[postgres]}; Redis {where[redis]}" if postgres != redis else where[postgres],
    )
    servers.own_directory()
    return servers


def handed_down(plan: str) -> Servers:
    """Take over, in a worker, what ``Servers.hand_down`` said."""
    return Servers(msgspec.json.decode(plan, type=Plan))


def _why_no_containers() -> str | None:
    try:
        from testcontainers.core.docker_client import DockerClient
    except ImportError:
        return "testcontainers is not installed"
    try:
        engine = DockerClient(timeout=_ENGINE_TIMEOUT_S)
    except Exception:  # noqa: BLE001 - of Docker, of requests, of the system
        return "no Docker engine answers"
    try:
        for image in (_POSTGRES_IMAGE, _VALKEY_IMAGE):
            if not engine.client.images.list(image):
                _pull(engine, image)
    except Exception as error:  # noqa: BLE001
        return f"the Docker engine cannot have the images ({str(error)[:200]})"
    finally:
        engine.client.close()
    return None


def _disable_ryuk() -> None:
    # It would remove our containers if we were killed, but it needs an image of its own and the engine's socket.
    from testcontainers.core.config import testcontainers_config

    testcontainers_config.ryuk_disabled = True


def _pull(engine: DockerClient, image: str) -> None:
    repository, _, tag = image.partition(":")
    deadline = time.monotonic() + _PULL_TIMEOUT_S
    for step in engine.client.api.pull(repository, tag=tag, stream=True, decode=True):
        if "error" in step:
            raise RuntimeError(step["error"])
        if time.monotonic() > deadline:
            raise TimeoutError(f"{image} took longer than {_PULL_TIMEOUT_S:.0f} s")


def _remove_homes(directory: Path) -> None:
    for home in directory.iterdir():
        if (home / "valkey.lock").exists():
            from chatapp.embedded.valkey import Valkey

            valkey = Valkey(home)
            valkey.stop()
            valkey.daemon.close()
    shutil.rmtree(directory)
