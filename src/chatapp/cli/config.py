"""``config check`` and ``config show``."""

from __future__ import annotations

import json
from pathlib import Path

import click
import yaml

from chatapp.cli.configured import config_option, load_settings
from chatapp.config.showing import to_tree


@click.group()
def config() -> None:
    """Look at the configuration."""


@config.command()
@config_option
def check(path: Path | None) -> None:
    """Tell everything that is wrong with the configuration; exit with 2 if anything is."""
    load_settings(path)
    click.echo("the configuration is good")


@config.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="JSON instead of YAML.")
def show(path: Path | None, as_json: bool) -> None:
    """Print the settings in effect, of file, environment and defaults. Secrets are not shown."""
    tree = to_tree(load_settings(path))
    click.echo(json.dumps(tree, indent=2) if as_json else yaml.safe_dump(tree, sort_keys=False).rstrip())
