"""``system migrate`` and ``system draft-migration``."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click
from sqlalchemy.exc import SQLAlchemyError

from chatapp.cli.configured import config_option, load_settings


@click.group()
def system() -> None:
    """Look after the database."""


@system.command()
@config_option
def migrate(path: Path | None) -> None:
    """Bring the database's schema up to date. Safe to run several times, and from several hosts at once."""
    database = load_settings(path, complete=False).postgres_db
    if not database.is_configured:
        raise click.ClickException("no database is configured; server start migrates its own by itself")
    from chatapp.storage.migrate import upgrade

    try:
        asyncio.run(upgrade(database.sqlalchemy_url(), database.connect_args()))
    except (OSError, SQLAlchemyError) as error:  # TimeoutError is an OSError
        reason = getattr(error, "orig", None) or error
        raise click.ClickException(f"the database could not be migrated: {reason or type(reason).__name__}") from error
    click.echo("the schema is up to date")


@system.command("draft-migration")
@config_option
@click.argument("message")
def draft_migration(path: Path | None, message: str) -> None:
    """Write a migration from the configured database's schema to the tables in the code, for developers to mend."""
    database = load_settings(path, complete=False).postgres_db
    if not database.is_configured:
        raise click.ClickException("no database is configured")
    from chatapp.storage.migrate import draft

    asyncio.run(draft(database.sqlalchemy_url(), message, database.connect_args()))
