"""``config check``, ``config show`` and ``config schema``."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click
import yaml

from chatapp.cli.configured import config_option, load_settings
from chatapp.config import ConfigError, load
from chatapp.config.schema import config_schema
from chatapp.config.showing import to_tree


@click.group()
def config() -> None:
    """Look at the configuration."""


@config.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="JSON: ok, problems and notices.")
@click.pass_context
def check(context: click.Context, path: Path | None, as_json: bool) -> None:
    """Tell everything that is wrong with the configuration; exit with 2 if anything is."""
    if not as_json:
        load_settings(path)
        click.echo("the configuration is good")
        return
    problems: list[dict[str, str]] = []
    notices: tuple[str, ...] = ()
    try:
        notices = load(path, os.environ).notices
    except ConfigError as error:
        problems = [{"key": p.key, "message": p.message, "source": p.source} for p in error.problems]
    click.echo(json.dumps({"ok": not problems, "problems": problems, "notices": notices}, indent=2))
    context.exit(2 if problems else 0)


@config.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="JSON instead of YAML.")
def show(path: Path | None, as_json: bool) -> None:
    """Print the settings in effect, of file, environment and defaults. Secrets are not shown."""
    tree = to_tree(load_settings(path))
    click.echo(json.dumps(tree, indent=2) if as_json else yaml.safe_dump(tree, sort_keys=False).rstrip())


@config.command()
def schema() -> None:
    """Print the JSON Schema of config.yaml, with which editors complete and check it.

    Keep it beside the file and name it in its first line: "# yaml-language-server: $schema=config.schema.json".
    """
    click.echo(json.dumps(config_schema(), indent=2))
