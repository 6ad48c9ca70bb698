"""Engine and connections: pools, time limits, and the translation of the driver's errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from msgspec import Struct
from sqlalchemy import URL, exc
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from chatapp.errors import Unavailable

# Classes of SQLSTATE that say "not now": connection, resources, operator intervention, read-only, lock not available.
_AWAY = ("08", "53", "57", "58", "25006", "55P03", "40001", "40P01", "XX")


# InternalClientError: the driver lost its way in the protocol, as when the server ends the connection in between.
_AWAY_ERRORS = (exc.TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, asyncio.TimeoutError)


class PoolSettings(Struct, frozen=True):
    """Bounds of one replica's pool. Sizes add up over replicas: keep the sum below ``max_connections``."""

    size: int = 10
    """Connections at most."""
    timeout_s: float = 2.0
    """How long to wait for a free one before ``Unavailable``."""
    statement_timeout_ms: int = 5000
    lock_timeout_ms: int = 2000
    pgbouncer: bool = False
    """Behind PgBouncer in transaction mode: no prepared statement outlives its transaction, no settings at connect."""


class Database:
    """The one door to PostgreSQL.

    Every method may raise ``Unavailable``: PostgreSQL is away, refuses, is read-only, or took longer than the limits.
    """

    def __init__(self, url: URL, pool: PoolSettings, connect_args: dict[str, Any] | None = None) -> None:
        args: dict[str, Any] = {"timeout": 5.0, **(connect_args or {})}
        if pool.pgbouncer:
            args["prepared_statement_cache_size"] = 0
            args["statement_cache_size"] = 0
        else:
            args["server_settings"] = {
                "application_name": "chatapp",
                "statement_timeout": str(pool.statement_timeout_ms),
                "lock_timeout": str(pool.lock_timeout_ms),
                "idle_in_transaction_session_timeout": "5000",
                "jit": "off",
                **args.get("server_settings", {}),
            }
        self.engine: AsyncEngine = create_async_engine(
            url,
            pool_size=pool.size,
            max_overflow=0,
            pool_timeout=pool.timeout_s,
            pool_recycle=1800,
            connect_args=args,
        )
        self._autocommit = self.engine.execution_options(isolation_level="AUTOCOMMIT")

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection on which each statement is a transaction of its own: for single statements."""
        with translated():
            async with self._autocommit.connect() as connection:
                yield connection

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """A transaction: committed at the end, rolled back by any exception. READ COMMITTED."""
        with translated():
            async with self.engine.begin() as connection:
                yield connection

    @asynccontextmanager
    async def driver(self) -> AsyncIterator[asyncpg.Connection]:
        """asyncpg's own connection, in autocommit: for the hot path's few statements."""
        with translated():
            async with self._autocommit.connect() as connection:
                driver = await _driver_of(connection)
                if driver.is_closed():  # while it was idle
                    await connection.invalidate()
                    driver = await _driver_of(connection)
                try:
                    yield driver
                except BaseException as error:
                    # SQLAlchemy does not see what happens on it, and would keep a dead one in the pool for ever.
                    if driver.is_closed() or isinstance(error, asyncpg.InternalClientError):
                        await connection.invalidate()
                    raise

    def line(self) -> DriverLine:
        """A connection for one task that uses it all the time."""
        return DriverLine(self._autocommit)

    async def close(self) -> None:
        """Close the pool; what is under way ends with an error."""
        await self.engine.dispose()


async def _driver_of(connection: AsyncConnection) -> asyncpg.Connection:
    driver = (await connection.get_raw_connection()).driver_connection
    assert isinstance(driver, asyncpg.Connection)
    return driver


class DriverLine:
    """asyncpg's own connection, in autocommit, kept from use to use: taking one from the pool costs half a statement.

    It belongs to one task; uses must not overlap. It counts as one of the pool's.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._connection: AsyncConnection | None = None
        self._driver: asyncpg.Connection | None = None

    @asynccontextmanager
    async def driver(self) -> AsyncIterator[asyncpg.Connection]:
        """The connection, opened if need be, and given up after any error. Raises ``Unavailable``."""
        with translated():
            try:
                if self._driver is None or self._driver.is_closed():
                    await self.close()
                    self._connection = await self._engine.connect()
                    self._driver = await _driver_of(self._connection)
                yield self._driver
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


class translated:  # noqa: N801 (reads as a verb where it is used)
    """Within this block the driver's errors are translated: what means "away" is raised as ``Unavailable``.

    Violations of constraints stay SQLAlchemy's ``IntegrityError``: the statement that can cause one knows its name.
    """

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is not None and is_away(error):
            raise Unavailable("the database is temporarily unavailable") from error


def is_away(error: BaseException) -> bool:
    """Whether the error says that PostgreSQL cannot do it now, and may later."""
    if isinstance(error, exc.IntegrityError):
        return False
    if isinstance(error, exc.DBAPIError):
        return error.connection_invalidated or is_away_state(sqlstate(error)) or isinstance(error, exc.InterfaceError)
    if isinstance(error, asyncpg.PostgresError):
        return is_away_state(getattr(error, "sqlstate", None))
    return isinstance(error, _AWAY_ERRORS)


def is_away_state(state: str | None) -> bool:
    """Whether this SQLSTATE is one of those."""
    return state is not None and state.startswith(_AWAY)


def sqlstate(error: exc.DBAPIError) -> str | None:
    """The SQLSTATE behind SQLAlchemy's wrapping."""
    state = getattr(error.orig, "sqlstate", None)
    return state if isinstance(state, str) else None


def constraint_of(error: exc.IntegrityError) -> str:
    """The name of the constraint or unique index that was violated."""
    for link in (error.orig, getattr(error.orig, "__cause__", None)):
        name = getattr(link, "constraint_name", None)
        if isinstance(name, str):
            return name
    return ""


Rows = Sequence[Any]
