"""Migrations: run under an advisory lock, so that any number of replicas may start at once on an empty database.

All that is to be done is one transaction, which also holds the lock: it is done whole or not at all, and works through
PgBouncer too, where a session's locks and settings would stay with whatever connection came next.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from chatapp.storage.hosts import with_hosts

# The role's own limits are for serving.
_OWN_LIMITS = text(
    "SELECT set_config('lock_timeout', '60s', true), set_config('statement_timeout', '0', true), "
    "set_config('idle_in_transaction_session_timeout', '0', true)"
)
_LOCK = 0x63686174  # "chat": any number will do that nobody else uses


def alembic_config() -> Config:
    """Where the scripts are: beside the installed package, or at the top of a checkout."""
    here = Path(__file__).resolve().parent.parent
    scripts = next(p for p in (here / "migrations", here.parent.parent / "migrations") if (p / "env.py").exists())
    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


async def upgrade(url: URL, connect_args: dict[str, Any] | None = None, revision: str = "head") -> None:
    """Bring the schema to ``revision``. Waits (up to 60 s) while another process does it."""
    await _run(url, connect_args, lambda config: command.upgrade(config, revision))


async def downgrade(url: URL, connect_args: dict[str, Any] | None = None, revision: str = "base") -> None:
    """Take the schema back to ``revision``. Loses what only the newer schema can hold."""
    await _run(url, connect_args, lambda config: command.downgrade(config, revision))


async def check(url: URL, connect_args: dict[str, Any] | None = None) -> None:
    """Raise ``alembic.util.CommandError`` when the tables in the code are not those that the migrations make."""
    await _run(url, connect_args, command.check)


async def draft(url: URL, message: str, connect_args: dict[str, Any] | None = None) -> None:
    """Write a migration from the database's schema to the tables in the code, for a person to read and mend."""
    await _run(url, connect_args, lambda config: command.revision(config, message, autogenerate=True))


async def current_revision(url: URL, connect_args: dict[str, Any] | None = None) -> tuple[str | None, str | None]:
    """The database's revision and the newest that this code knows."""
    head = ScriptDirectory.from_config(alembic_config()).get_current_head()
    engine = create_async_engine(url, poolclass=NullPool, connect_args=with_hosts(connect_args or {}))
    try:
        async with engine.connect() as connection:
            current = await connection.run_sync(lambda c: MigrationContext.configure(c).get_current_revision())
    finally:
        await engine.dispose()
    return current, head


async def _run(url: URL, connect_args: dict[str, Any] | None, act: Any) -> None:
    engine = create_async_engine(url, poolclass=NullPool, connect_args=with_hosts(connect_args or {}))
    try:
        async with engine.begin() as connection:
            await connection.execute(_OWN_LIMITS)
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            await connection.run_sync(_within, act)
    finally:
        await engine.dispose()


def _within(connection: Connection, act: Any) -> None:
    config = alembic_config()
    config.attributes["connection"] = connection
    act(config)
