"""Whether PostgreSQL answers."""

from __future__ import annotations

import asyncio

from sqlalchemy import text

from chatapp.errors import Unavailable
from chatapp.storage.engine import Database

_ONE = text("SELECT pg_is_in_recovery() OR current_setting('default_transaction_read_only')::boolean")


async def ping(database: Database, timeout_s: float = 2.0) -> float:
    """Seconds for one round trip. Raises ``Unavailable`` without an answer in time, or when nothing can be written."""
    clock = asyncio.get_running_loop().time
    begun = clock()
    try:
        async with asyncio.timeout(timeout_s), database.read() as connection:
            read_only = (await connection.execute(_ONE)).scalar()
    except TimeoutError:
        raise Unavailable("the database does not answer") from None
    if read_only:
        raise Unavailable("the database is read-only")
    return clock() - begun
