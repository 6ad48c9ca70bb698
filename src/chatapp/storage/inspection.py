"""A look at PostgreSQL for people: what it is, how it is set up, how full it is, what its clock says."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from msgspec import Struct
from sqlalchemy import text

from chatapp.storage.engine import Database

# Statement by statement: behind PgBouncer nothing else is certain.
_LOOK = text(
    """
    SELECT current_setting('server_version') AS version,
        pg_is_in_recovery() OR current_setting('default_transaction_read_only')::boolean AS read_only,
        current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
            - coalesce(current_setting('reserved_connections', true)::int, 0) AS connections_limit,
        (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS connections,
        clock_timestamp() AS now
    """
)


class DatabaseReport(Struct, frozen=True):
    """One server."""

    version: str
    read_only: bool
    connections_limit: int
    """That users without privileges may open."""
    connections: int
    """Open ones, of everybody."""
    connect_s: float
    latency_s: float
    """Of one statement on an open connection."""
    clock_ahead_s: float
    """Against this host's, give or take half of ``latency_s``."""


async def inspect_database(database: Database) -> DatabaseReport:
    """Raises ``Unavailable``."""
    clock = asyncio.get_running_loop().time
    began = clock()
    async with database.read() as connection:
        await connection.execute(text("SELECT 1"))
        connected = clock()
        asked = datetime.now(UTC)
        row = (await connection.execute(_LOOK)).one()
        latency_s = clock() - connected
    return DatabaseReport(
        version=row.version.partition(" ")[0],
        read_only=row.read_only,
        connections_limit=row.connections_limit,
        connections=row.connections,
        connect_s=connected - began,
        latency_s=latency_s,
        clock_ahead_s=(row.now - asked).total_seconds() - latency_s / 2,
    )
