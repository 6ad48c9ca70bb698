"""The configuration that a command works with."""

from __future__ import annotations

import os
from pathlib import Path

import click

from chatapp.config import ConfigError, Settings, load

config_option = click.option(
    "-c",
    "--config",
    "path",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Directory of config.yaml, or the file itself.  [default: CONFIG_PATH, or the current directory]",
)


def load_settings(path: Path | None, *, complete: bool = True, quiet: bool = False) -> Settings:
    """The settings; what is wrong with them is told, and ends the command with 2."""
    try:
        settings = load(path, os.environ, complete=complete)
    except ConfigError as error:
        click.echo(f"error: {error}", err=True)
        click.get_current_context().exit(2)
    for notice in () if quiet else settings.notices:
        click.echo(f"warning: {notice}", err=True)
    return settings
