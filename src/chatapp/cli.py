"""The commands: ``server start``, ``system migrate``, ``config check|show``, ``key generate`` and ``health``.

Exit status: 0 done, 1 failed, 2 the configuration or the command line is wrong. What builds and serves is imported
where it is used, so that ``--help`` and ``health`` are quick.
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import click
import yaml
from sqlalchemy.exc import SQLAlchemyError

from chatapp.config import ConfigError, Settings, load
from chatapp.config.showing import to_tree

_PROBE_TIMEOUT_S = 5.0

_config_option = click.option(
    "-c",
    "--config",
    "path",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Directory of config.yaml, or the file itself.  [default: CONFIG_PATH, or the current directory]",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="chatapp")
def main() -> None:
    """A chat backend that scales by adding replicas."""


@main.group()
def server() -> None:
    """Serve."""


@server.command()
@_config_option
@click.option("--workers", type=click.IntRange(1, 256), help="Processes, each a replica.  [default: general.workers]")
@click.option("--reload", is_flag=True, help="Start again when the code changes, for development.")
@click.pass_context
def start(context: click.Context, path: Path | None, workers: int | None, reload: bool) -> None:
    """Start a replica, or several.

    With neither a database nor a Redis configured, PostgreSQL and Valkey are started too, in .chatapp/ of the current
    directory; a second start there, on another PORT, joins them as another replica.
    """
    if reload and (workers or 1) > 1:
        raise click.UsageError("--reload is for one process: leave --workers away.")
    settings = _load(path)
    from chatapp.app.serve import serve

    count = 1 if reload else workers or settings.general.workers
    context.exit(serve(settings, start_dir=Path.cwd(), config_path=path, workers=count, reload=reload))


@main.group()
def system() -> None:
    """Look after the database."""


@system.command()
@_config_option
def migrate(path: Path | None) -> None:
    """Bring the database's schema up to date. Safe to run several times, and from several hosts at once."""
    database = _load(path, complete=False).postgres_db
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
@_config_option
@click.argument("message")
def draft_migration(path: Path | None, message: str) -> None:
    """Write a migration from the configured database's schema to the tables in the code, for developers to mend."""
    database = _load(path, complete=False).postgres_db
    if not database.is_configured:
        raise click.ClickException("no database is configured")
    from chatapp.storage.migrate import draft

    asyncio.run(draft(database.sqlalchemy_url(), message, database.connect_args()))


@main.group()
def config() -> None:
    """Look at the configuration."""


@config.command()
@_config_option
def check(path: Path | None) -> None:
    """Tell everything that is wrong with the configuration; exit with 2 if anything is."""
    _load(path)
    click.echo("the configuration is good")


@config.command()
@_config_option
@click.option("--json", "as_json", is_flag=True, help="JSON instead of YAML.")
def show(path: Path | None, as_json: bool) -> None:
    """Print the settings in effect, of file, environment and defaults. Secrets are not shown."""
    tree = to_tree(_load(path))
    click.echo(json.dumps(tree, indent=2) if as_json else yaml.safe_dump(tree, sort_keys=False).rstrip())


@main.group()
def key() -> None:
    """Look after the keys of tokens."""


@key.command()
@click.option("--json", "as_json", is_flag=True, help="JSON, with the key's fingerprint.")
def generate(as_json: bool) -> None:
    """Print a new key for auth.paseto_key, of 32 random bytes. Nothing keeps it: see docs/keys.md for what to do."""
    import secrets

    made = secrets.token_bytes(32)
    if as_json:
        from chatapp.auth.keys import SigningKey

        click.echo(json.dumps({"key": made.hex(), "id": SigningKey(made).key_id}))
    else:
        click.echo(made.hex())


@main.command()
@_config_option
@click.pass_context
def health(context: click.Context, path: Path | None) -> None:
    """Ask the replica on this host whether it is ready; exit with 0 if so, else 1. For container health checks."""
    settings = _load(path, complete=False, quiet=True)
    status = _probe(_ready_url(settings))
    click.echo(status or "ready")
    context.exit(1 if status else 0)


def _load(path: Path | None, *, complete: bool = True, quiet: bool = False) -> Settings:
    try:
        settings = load(path, os.environ, complete=complete)
    except ConfigError as error:
        click.echo(f"error: {error}", err=True)
        click.get_current_context().exit(2)
    for notice in () if quiet else settings.notices:
        click.echo(f"warning: {notice}", err=True)
    return settings


def _ready_url(settings: Settings) -> str:
    """On the loopback, unless the service listens on one address only."""
    general = settings.general
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "*": "127.0.0.1"}.get(general.host, general.host)  # noqa: S104
    scheme = "https" if general.tls_cert_file else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{general.port}/health/ready"


def _probe(url: str) -> str | None:
    """Why the replica is not ready; None when it is."""
    import ssl
    from http.client import HTTPException
    from urllib.error import HTTPError, URLError
    from urllib.request import HTTPSHandler, ProxyHandler, build_opener

    certificate_is_ours = ssl.create_default_context()  # its name is that of the service, not of the loopback
    certificate_is_ours.check_hostname = False
    certificate_is_ours.verify_mode = ssl.CERT_NONE
    opener = build_opener(ProxyHandler({}), HTTPSHandler(context=certificate_is_ours))
    try:
        with opener.open(url, timeout=_PROBE_TIMEOUT_S) as response:
            return None if response.status == 200 else f"not ready: HTTP {response.status}"
    except HTTPError as error:
        with error:
            return f"not ready: HTTP {error.code}"
    except URLError as error:
        return f"not reachable: {error.reason}"
    except (OSError, HTTPException) as error:
        return f"not reachable: {error}"
