"""``server start``."""

from __future__ import annotations

from pathlib import Path

import click

from chatapp.cli.configured import config_option, load_settings


@click.group()
def server() -> None:
    """Serve."""


@server.command()
@config_option
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
    settings = load_settings(path)
    from chatapp.app.serve import serve

    count = 1 if reload else workers or settings.general.workers
    context.exit(serve(settings, start_dir=Path.cwd(), config_path=path, workers=count, reload=reload))
