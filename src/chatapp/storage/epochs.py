"""Statements on the epoch, and PostgreSQL's clock."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import text

from chatapp.storage.engine import Database

# The first eight digits of a WAL file's name are the timeline. The table's number differs when its rows came from a
# dump, into the same server too.
_IDENTITY = """
    (SELECT system_identifier FROM pg_control_system())::text || ':' || left(pg_walfile_name(pg_current_wal_lsn()), 8)
    || ':' || 'messages'::regclass::oid
"""
_EPOCH = text("SELECT epoch FROM epochs")
_BEGIN = text(
    f"""
    UPDATE epochs
    SET epoch = CASE WHEN identity = '' THEN epoch ELSE gen_random_uuid()::text END, identity = {_IDENTITY}
    WHERE identity <> {_IDENTITY}
    """  # noqa: S608
)
_NEW_EPOCH = text("UPDATE epochs SET epoch = gen_random_uuid()::text WHERE epoch = :epoch")
_NOW = text("SELECT clock_timestamp()")


async def current(database: Database) -> str:
    """The epoch: positions of another one are void."""
    async with database.read() as connection:
        epoch: str = (await connection.execute(_EPOCH)).scalar_one()
    return epoch


async def recognise(database: Database) -> str:
    """The epoch, after having begun another one if server, timeline or table are others than they were.

    That is so after a restored backup or dump, and after the promotion of a standby, which may have lost commits.
    """
    async with database.read() as connection:
        await connection.execute(_BEGIN)
    return await current(database)


async def begin_another(database: Database, epoch: str) -> str:
    """End this epoch; of several who ask at once, one succeeds. Returns the epoch that holds now."""
    async with database.read() as connection:
        await connection.execute(_NEW_EPOCH, {"epoch": epoch})
    return await current(database)


async def now(database: Database) -> datetime:
    """PostgreSQL's clock."""
    async with database.read() as connection:
        value: datetime = (await connection.execute(_NOW)).scalar_one()
    return value
