"""Write the pages that are made from the code's types: ``python docs/generate.py``, or ``--check`` to compare them.

To add a page, add a function that returns its text to ``PAGES``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from inspect import getdoc
from pathlib import Path

import click
import yaml
from commands_page import commands_page
from dashboard_page import dashboard
from metrics_page import metrics_page
from protocol_page import protocol_page
from security_pages import security_page

from chatapp.api.asyncapi import asyncapi_yaml
from chatapp.config.environment import FOREIGN_PREFIXES
from chatapp.config.keys import Key, Section, sections
from chatapp.config.showing import to_plain

ROOT = Path(__file__).resolve().parent.parent

_SETTINGS_INTRODUCTION = f"""\
# Settings

<!-- Made by docs/generate.py from src/chatapp/config: change it there. -->

Each key may stand in `config.yaml` (start from `config.sample.yaml`), and in the environment as
`CHATAPP_SECTION__KEY`. Defaults give way to the file, the file to the environment, and
`CHATAPP_…` to the few short names (`PORT`, `DATABASE_URL`, `REDIS_URL`, `PASETO_KEY`).

- The file is looked for in the directory that `--config` or `CONFIG_PATH` names (a file's path will do too), else in
  the current directory, where there need not be one.
- A variable that is empty counts as absent. Lists are written `a,b,c` or `["a", "b"]`.
- A secret may also stand in a file of its own: its variable's name with `_FILE` behind holds the path, as in
  `DATABASE_URL_FILE` or `CHATAPP_POSTGRES_DB__PASS_FILE`. Line breaks at the end are not part of it.
- Unknown keys, values that do not fit, and variables that begin with `CHATAPP_` and name no key stop the start; all
  of them are told at once. Only {", ".join(f"`{prefix}*`" for prefix in FOREIGN_PREFIXES)} and what Kubernetes sets for
  its Services are left alone.
- `proxy_setting` and `test_token` are accepted, for old files, and not used.
- `chatapp config check` tells what is wrong, `chatapp config show` what is in effect, `chatapp config schema` prints
  the JSON Schema of `config.yaml` for editors.
"""

_SAMPLE_INTRODUCTION = """\
# Settings of chatapp. Copy this file to config.yaml and change what you need: every value below is the default.
# Keys without one are commented out. Any key can also be given in the environment, as CHATAPP_SECTION__KEY; secrets
# belong there, or in a file that CHATAPP_SECTION__KEY_FILE names. See docs/settings.md.
#
# As it is, with neither a database nor a Redis, `chatapp server start` runs its own two in .chatapp/.
"""


def settings_page() -> str:
    """All settings as tables."""
    return "\n".join([_SETTINGS_INTRODUCTION, *(_settings_section(section) for section in sections())])


def sample_file() -> str:
    """``config.sample.yaml``."""
    return "\n".join([_SAMPLE_INTRODUCTION, *(_sample_section(section) for section in sections())])


def asyncapi_page() -> str:
    """``docs/asyncapi.yaml``."""
    return "# Made by docs/generate.py from src/chatapp/protocol: change it there.\n" + asyncapi_yaml()


PAGES: dict[str, Callable[[], str]] = {
    "docs/commands.md": commands_page,
    "deploy/observability/grafana/dashboards/chatapp.json": dashboard,
    "docs/metrics.md": metrics_page,
    "docs/protocol.md": protocol_page,
    "docs/asyncapi.yaml": asyncapi_page,
    "docs/security.md": security_page,
    "docs/settings.md": settings_page,
    "config.sample.yaml": sample_file,
}


def _settings_section(section: Section) -> str:
    lines = [f"## {section.name}\n", f"{_doc(section)}\n"]
    lines += ["| Key | Value | Default | Unit | Meaning |", "|---|---|---|---|---|"]
    for key in section.keys:
        default = "none" if key.default is None else f"`{_yaml(key)}`"
        alias = f" Short name: `{key.env_alias}`." if key.env_alias else ""
        meaning = f"{key.description}{' A secret.' if key.is_secret else ''}{alias}"
        cells = (f"`{key.name}`", key.expected, default, key.unit, meaning)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _sample_section(section: Section) -> str:
    lines = [*_comment(_doc(section)), f"{section.name}:"]
    for key in section.keys:
        unit = f" [{key.unit}]" if key.unit else ""
        alias = f" Environment: {key.env_alias}." if key.env_alias else ""
        lines += _comment(f"{key.description}{alias} Takes {key.expected}{unit}; default {_default(key)}.", "  ")
        lines.append(f"  # {key.name}:" if key.default is None else f"  {key.name}: {_yaml(key)}")
    return "\n".join(lines) + "\n"


def _doc(section: Section) -> str:
    return getdoc(section.type) or ""


def _default(key: Key) -> str:
    return "none" if key.default is None else _yaml(key)


def _yaml(key: Key) -> str:
    """The default as it stands in the file."""
    plain = to_plain(key, key.default)
    if isinstance(plain, float) and plain.is_integer():
        plain = int(plain)
    return yaml.safe_dump(plain, default_flow_style=True, width=1000).removesuffix("...\n").strip()


def _comment(text: str, indent: str = "", width: int = 118) -> list[str]:
    lines: list[str] = []
    for paragraph in text.split("\n\n"):
        line = f"{indent}#"
        for word in paragraph.split():
            if len(line) + 1 + len(word) > width:
                lines.append(line)
                line = f"{indent}#"
            line += f" {word}"
        lines.append(line)
    return lines


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; fail when a page is not what the code says.")
def main(check: bool) -> None:
    """Write the pages that are made from the code."""
    stale = [name for name, render in PAGES.items() if not _is_fresh(ROOT / name, render())]
    for name in stale:
        if not check:
            (ROOT / name).write_text(PAGES[name](), encoding="utf-8")
        click.echo(f"{name} {'is not what the code says: run python docs/generate.py' if check else 'written'}")
    sys.exit(1 if check and stale else 0)


def _is_fresh(page: Path, text: str) -> bool:
    return page.is_file() and page.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    main()
