"""What operators' commands have in common: the services they work with, how they end, how they print."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click
import msgspec

from chatapp.cli.configured import load_settings
from chatapp.cli.untrusted import one_line

if TYPE_CHECKING:
    from chatapp.app.operating import Operating, Site

T = TypeVar("T")

json_option = click.option("--json", "as_json", is_flag=True, help="JSON, with keys that stay.")


def find_site(path: Path | None) -> Site:
    """The configured services, or those of the replica that runs in this directory; else the command ends with 1."""
    from chatapp.app.operating import NothingToWorkWith, site
    from chatapp.embedded import OwnServicesError

    settings = load_settings(path, complete=False, quiet=True)
    try:
        return site(settings, Path.cwd())
    except NothingToWorkWith:
        raise click.ClickException(
            "no database is configured, and no replica with its own runs in this directory"
        ) from None
    except (OwnServicesError, OSError) as error:
        raise click.ClickException(str(error)) from None


def operate(
    path: Path | None,
    act: Callable[[Operating], Awaitable[T]],
    *,
    lifetime_s: float | None = None,
    needs_key: bool = False,
) -> T:
    """Do it, and return what it gives. What fails is told in a sentence, and ends the command with 1."""
    found = find_site(path)

    async def run() -> T:
        from chatapp.app.operating import operating

        async with operating(found, lifetime_s=lifetime_s, needs_key=needs_key) as opened:
            return await act(opened)

    return run_to_end(run())


def run_to_end(work: Awaitable[T]) -> T:
    """Run it. Refusals and what is away become a sentence and exit status 1, Ctrl-C 130."""
    from sqlalchemy.exc import SQLAlchemyError

    from chatapp.app.operating import NoKey
    from chatapp.errors import ChatAppError, ValidationFailed

    async def awaited() -> T:
        return await work

    _be_quiet()
    try:
        return asyncio.run(awaited())
    except ValidationFailed as error:
        problems = "; ".join(f"{m.field}: {m.tag} {m.value}".rstrip() for m in error.messages)
        raise click.ClickException(f"{error.error}: {problems}") from None
    except ChatAppError as error:
        raise click.ClickException(f"{error.error} ({error.code_word})") from None
    except NoKey:
        raise click.ClickException("the replicas' auth.paseto_key is not configured here, and is needed") from None
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or type(error).__name__).partition("\n")[0]
        raise click.ClickException(f"the database refused: {reason} (is its schema up to date?)") from None
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error) or type(error).__name__) from None
    except KeyboardInterrupt:
        click.get_current_context().exit(130)


def read_secret(what: str, *, confirm: bool = False) -> str:
    """From the keyboard without showing it, or the first line of standard input. Never from the command line."""
    if sys.stdin.isatty():
        text: str = click.prompt(what, hide_input=True, confirmation_prompt=confirm, err=True)
        return text
    text = sys.stdin.readline(65536).rstrip("\r\n")
    if not text:
        raise click.ClickException(f"{what.lower()}: nothing came on standard input")
    return text


@contextmanager
def progress(text: str) -> Iterator[Callable[[str], None]]:
    """A spinner on standard error, where somebody looks at it; call it with what is being done now."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda now: None
        return
    with console.status(text) as status:
        yield lambda now: status.update(now)


def print_json(value: object) -> None:
    """One JSON value, on several lines. ASCII only: nothing in it can do anything to a terminal."""
    click.echo(json.dumps(msgspec.to_builtins(value), indent=2))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[str] = ()) -> None:
    """Columns of text, cleaned, each as wide as its longest cell."""
    cells = [list(columns), *([one_line(str(cell), 200) for cell in row] for row in rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(columns))]
    for row in cells:
        padded = (
            cell.rjust(width) if name in right else cell.ljust(width)
            for name, cell, width in zip(columns, row, widths, strict=True)
        )
        click.echo("  ".join(padded).rstrip())


def _be_quiet() -> None:
    """What goes wrong is told at the end, by the command; not on the way, by whatever meets it."""
    import logging

    if not logging.getLogger().handlers:
        logging.getLogger().addHandler(logging.NullHandler())
