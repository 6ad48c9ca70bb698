"""Engine and connections: pools, time limits, and what becomes of connections that are of no more use."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import asyncpg
from msgspec import Struct
from sqlalchemy import URL, event, exc
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from chatapp.errors import Unavailable
from chatapp.storage.faults import constraint_of, is_away, is_lost
from chatapp.storage.hosts import with_hosts
from chatapp.storage.pool import CountedPool, PoolStats

__all__ = ["Database", "DriverLine", "PoolSettings", "constraint_of", "driver_of", "is_away"]

CLIENT_MARGIN_S = 2.0
"""How much longer than the server's own limit a statement is waited for: past it the server itself is gone."""


class PoolSettings(Struct, frozen=True):
    """Bounds of one replica's pool. Sizes add up over replicas: keep the sum below ``max_connections``."""

    size: int = 10
    """Connections at most."""
    timeout_s: float = 2.0
    """How long to wait for a free one before ``Unavailable``."""
    statement_timeout_ms: int = 5000
    lock_timeout_ms: int = 2000
    idle_in_transaction_timeout_ms: int = 5000
    pgbouncer: bool = False
    """Behind PgBouncer in transaction mode: no statement is kept prepared, and no setting is sent at connect."""

    def session(self) -> dict[str, str]:
        """The settings of PostgreSQL that each connection has."""
        return {
            "statement_timeout": str(self.statement_timeout_ms),
            "lock_timeout": str(self.lock_timeout_ms),
            "idle_in_transaction_session_timeout": str(self.idle_in_transaction_timeout_ms),
            "jit": "off",
        }


class Database:
    """The one door to PostgreSQL.

    Every method may raise ``Unavailable``: PostgreSQL is away, refuses, is read-only, or took longer than the limits.
    """

    def __init__(self, url: URL, pool: PoolSettings, connect_args: dict[str, Any] | None = None) -> None:
        args: dict[str, Any] = {"timeout": 5.0, **with_hosts(connect_args or {})}
        # A server that hangs or was cut off does not cancel anything by itself.
        args.setdefault("command_timeout", pool.statement_timeout_ms / 1000 + CLIENT_MARGIN_S)
        settings = {"application_name": "chatapp", **pool.session(), **args.get("server_settings", {})}
        if pool.pgbouncer:
            # Without a cache asyncpg parses, binds and executes an unnamed statement in one go, which PgBouncer sends
            # to one server connection. A named one would be looked for at another, or stay there for ever.
            args["prepared_statement_cache_size"] = 0
            args["statement_cache_size"] = 0
            settings = {"application_name": settings["application_name"]}
        args["server_settings"] = settings
        self.pool = pool
        self.losses = 0
        """How often connections were lost, or the server behind them took no writes any more."""
        self._void = False
        self.engine: AsyncEngine = create_async_engine(
            url,
            poolclass=CountedPool,
            pool_size=pool.size,
            max_overflow=0,
            pool_timeout=pool.timeout_s,
            pool_recycle=1800,
            connect_args=args,
            hide_parameters=True,  # an error's text may be logged; contents and password hashes may not
        )
        event.listen(self.engine.sync_engine, "checkout", self._check_out)
        self.pool_stats = PoolStats()
        self.connections.stats = self.pool_stats
        self._autocommit = self.engine.execution_options(isolation_level="AUTOCOMMIT")

    @property
    def connections(self) -> CountedPool:
        """The pool, to be looked at."""
        pool = self.engine.pool
        assert isinstance(pool, CountedPool)
        return pool

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection on which each statement is a transaction of its own: for single statements."""
        async with self._used(self._autocommit.connect()) as connection:
            yield connection

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """A transaction: committed at the end, rolled back by any exception. READ COMMITTED."""
        async with self._used(self.engine.begin()) as connection:
            yield connection

    @asynccontextmanager
    async def driver(self) -> AsyncIterator[asyncpg.Connection]:
        """asyncpg's own connection, in autocommit: for the hot path's few statements."""
        async with self._used(self._autocommit.connect()) as connection:
            driver = await driver_of(connection)
            if driver.is_closed():  # while it was idle
                await connection.invalidate()
                driver = await driver_of(connection)
            try:
                yield driver
            except BaseException as error:
                # SQLAlchemy does not see what happens on it, and would keep a dead one in the pool for ever.
                if driver.is_closed() or isinstance(error, asyncpg.InternalClientError):
                    await connection.invalidate()
                raise

    def line(self) -> DriverLine:
        """A connection for one task that uses it all the time."""
        return DriverLine(self, self._autocommit)

    def watched(self) -> Watched:
        """Within this block the driver's errors are translated, and a loss of connections is noted."""
        return Watched(self)

    def lost(self) -> None:
        """The server is gone, or another one takes the writes now: open every connection anew before it is used."""
        if not self._void:
            self._void = True
            self.losses += 1

    async def close(self) -> None:
        """Close the pool; what is under way ends with an error."""
        await self.engine.dispose()

    @asynccontextmanager
    async def _used(self, opened: AbstractAsyncContextManager[AsyncConnection]) -> AsyncIterator[AsyncConnection]:
        with self.watched():
            async with opened as connection:
                try:
                    yield connection
                except TimeoutError:
                    if not connection.invalidated:  # as SQLAlchemy has done, where the statement was its own
                        (await driver_of(connection)).terminate()
                        await connection.invalidate()
                    raise

    def _check_out(self, *about: object) -> None:
        """See SQLAlchemy's event: the pool then opens a new connection instead of each that is older."""
        if self._void:
            self._void = False
            raise exc.InvalidatePoolError


async def driver_of(connection: AsyncConnection) -> asyncpg.Connection:
    """asyncpg's connection below."""
    driver = (await connection.get_raw_connection()).driver_connection
    assert isinstance(driver, asyncpg.Connection)
    return driver


class DriverLine:
    """asyncpg's own connection, in autocommit, kept from use to use: taking one from the pool costs half a statement.

    It belongs to one task; uses must not overlap. It counts as one of the pool's.
    """

    def __init__(self, database: Database, engine: AsyncEngine) -> None:
        self._database = database
        self._engine = engine
        self._connection: AsyncConnection | None = None
        self._driver: asyncpg.Connection | None = None

    @asynccontextmanager
    async def driver(self) -> AsyncIterator[asyncpg.Connection]:
        """The connection, opened if need be, and given up after any error. Raises ``Unavailable``."""
        with self._database.watched():
            try:
                if self._driver is None or self._driver.is_closed():
                    await self.close()
                    self._connection = await self._engine.connect()
                    self._driver = await driver_of(self._connection)
                yield self._driver
            except TimeoutError:
                if self._driver is not None:
                    self._driver.terminate()
                await self.close()
                raise
            except BaseException:
                await self.close()
                raise

    async def close(self) -> None:
        """Give the connection up; the next use opens another."""
        connection, driver = self._connection, self._driver
        self._connection = self._driver = None
        if connection is not None:
            if driver is None or driver.is_closed() or driver.is_in_transaction():
                await connection.invalidate()
            await connection.close()


class Watched:
    """What means "away" is raised as ``Unavailable``; the database hears of what was lost.

    Violations of constraints stay SQLAlchemy's ``IntegrityError``: the statement that can cause one knows its name.
    """

    __slots__ = ("_database",)

    def __init__(self, database: Database) -> None:
        self._database = database

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None:
            return
        if is_lost(error):
            self._database.lost()
        if is_away(error):
            raise Unavailable("the database is temporarily unavailable") from error
