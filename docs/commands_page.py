"""``docs/commands.md``, from the commands themselves."""

from __future__ import annotations

from collections.abc import Iterator
from inspect import cleandoc

import click

from chatapp.cli import main

_INTRODUCTION = """\
# Commands

<!-- Made by docs/generate.py from src/chatapp/cli: change it there. -->

`chatapp` (also installed as `chatapp-server`). Each command tells its options with `--help`.

- **Which service**: commands that need one read the same configuration as `server start`; with neither a database nor a
  Redis configured they find the servers of the replica that runs in the current directory (`.chatapp/`). They are no
  replicas, and work while replicas run, of whatever number. Replicas are found over Redis: no address is needed.
- **Exit status**: 0 done, 1 failed (`health`: not ready; `doctor`: there is a problem; `stats`: no replica answers),
  2 the configuration or the command line is wrong, 130 interrupted.
- **`--json`** prints one JSON value on standard output. Its keys stay; more may be added. Times are RFC 3339. What
  is wrong goes to standard error, as a sentence.
- **Secrets** are never arguments: passwords and tokens are asked for without being shown, or read as the first line of
  standard input.
- Only tokens (`token issue`, and `token revoke` of a typed one) need `auth.paseto_key`, the same as the replicas'.
- What operators do is in the audit log, under the name of who is logged in on the host (behind `sudo`, too).
"""


def commands_page() -> str:
    """All commands with their options."""
    return "\n".join([_INTRODUCTION, *(_section(words, command) for words, command in _commands(main, ("chatapp",)))])


def _commands(group: click.Group, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        yield (*words, name), command
        if isinstance(command, click.Group):
            yield from _commands(command, (*words, name))


def _section(words: tuple[str, ...], command: click.Command) -> str:
    context = click.Context(command, info_name=" ".join(words))
    level = "#" * len(words)
    lines = [f"{level} {' '.join(words)}\n", _prose(command.help or "")]
    if isinstance(command, click.Group):
        return "\n".join(lines)
    lines.append("```\n" + " ".join([*words, *command.collect_usage_pieces(context)]) + "\n```\n")
    records = [record for option in command.params if (record := option.get_help_record(context)) is not None]
    if records:
        lines += ["| Option | Meaning |", "|---|---|"]
        lines += [f"| `{_cell(name)}` | {_cell(' '.join(meaning.split()))} |" for name, meaning in records]
        lines.append("")
    return "\n".join(lines)


def _prose(text: str) -> str:
    return cleandoc(text) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
