"""The PostgreSQL and the Redis of a run: of DATABASE_URL and REDIS_URL, else own ones in a temporary directory."""

from __future__ import annotations

import asyncio
import os
import secrets
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import asyncpg
from msgspec import Struct
from redis import Redis

from chatapp.embedded import Endpoints, OwnServices

T = TypeVar("T")
_STATEMENT_TIMEOUT_S = 600.0


class Backing(Struct, frozen=True):
    """Both addresses contain a password."""

    database_url: str
    redis_url: str
    is_own: bool

    def versions(self) -> dict[str, str]:
        """What they are."""
        with Redis.from_url(self.redis_url) as redis:
            about = redis.info("server")
        name = "valkey" if "valkey_version" in about else "redis"
        postgres = on_database(self.database_url, lambda connection: connection.fetchval("SHOW server_version"))
        return {"postgresql": str(postgres).partition(" ")[0], name: str(about[f"{name}_version"])}


@contextmanager
def backing() -> Iterator[Backing]:
    """Both servers, for as long as this block lasts."""
    database_url, redis_url = os.environ.get("DATABASE_URL", ""), os.environ.get("REDIS_URL", "")
    if database_url and redis_url:
        yield Backing(database_url, redis_url, is_own=False)
        return
    with tempfile.TemporaryDirectory(prefix="chatapp-bench-") as directory:
        own: Endpoints
        with OwnServices(Path(directory)) as own:
            yield Backing(database_url or own.database_url, redis_url or own.redis_url, is_own=True)


@contextmanager
def fresh_database(server_url: str) -> Iterator[str]:
    """An empty database beside the given one; dropped in the end. The role must be allowed to make databases."""
    name = f"chatapp_bench_{secrets.token_hex(4)}"
    on_database(server_url, lambda connection: connection.execute(f"CREATE DATABASE {name}"))
    try:
        yield urlsplit(server_url)._replace(path=f"/{name}").geturl()
    finally:
        on_database(server_url, lambda connection: connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))


def on_database(url: str, act: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
    """Do something on a connection of its own, and wait for it."""

    async def connected() -> T:
        connection = await asyncpg.connect(
            urlsplit(url)._replace(scheme="postgresql").geturl(), command_timeout=_STATEMENT_TIMEOUT_S
        )
        try:
            return await act(connection)
        finally:
            await connection.close()

    return asyncio.run(connected())
