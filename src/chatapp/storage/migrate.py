"""Migrations: run under an advisory lock, so that any number of replicas may start at once on an empty database."""

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
    engine = create_async_engine(url, poolclass=NullPool, connect_args=connect_args or {})
    try:
        async with engine.connect() as connection:
            current = await connection.run_sync(lambda c: MigrationContext.configure(c).get_current_revision())
    finally:
        await engine.dispose()
    return current, head


async def _run(url: URL, connect_args: dict[str, Any] | None, act: Any) -> None:
    engine = create_async_engine(url, poolclass=NullPool, connect_args=connect_args or {})
    try:
        async with engine.connect() as connection:
            await connection.execute(text("SET lock_timeout = '60s'"))
            await connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK})
            await connection.commit()
            try:
                await connection.run_sync(_within, act)
                await connection.commit()
            finally:
                await connection.rollback()
                await connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK})
    finally:
        await engine.dispose()


def _within(connection: Connection, act: Any) -> None:
    config = alembic_config()
    config.attributes["connection"] = connection
    act(config)
