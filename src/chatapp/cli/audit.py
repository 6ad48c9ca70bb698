"""``audit``: what admins and operators have done."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click
import msgspec

from chatapp.cli.configured import config_option
from chatapp.cli.operated import json_option, operate, print_json, print_table

if TYPE_CHECKING:
    from chatapp.app.operating import Operating
    from chatapp.storage.audit import Record

_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


class Since(click.ParamType[datetime]):
    """A time, or how long ago: ``2026-05-01``, ``2026-05-01T12:00Z``, ``90m``, ``2h``, ``7d``."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """See click."""
        if isinstance(value, datetime):
            return value
        text = str(value)
        if match := re.fullmatch(r"(\d{1,6})([mhd])", text):
            return datetime.now(UTC) - timedelta(**{_UNITS[match[2]]: int(match[1])})
        try:
            at = datetime.fromisoformat(text)
        except ValueError:
            self.fail(f"{text!r} is neither a time such as 2026-05-01T12:00Z nor one ago such as 90m, 2h or 7d")
        return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


@click.command()
@config_option
@click.option("--since", type=Since(), help="Not older: a time in UTC, or 90m, 2h, 7d ago.")
@click.option("--action", help="Only such acts, for example user.suspended.")
@click.option("--target", help="Only acts on this: user:3, chat:7, message:99, keys.")
@click.option("--by", "by", help="Only acts of this user (name or id).")
@click.option("--before", type=click.IntRange(1), help="Only those of a lower number, for the next page.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most so many.")
@json_option
def audit(
    path: Path | None,
    since: datetime | None,
    action: str | None,
    target: str | None,
    by: str | None,
    before: int | None,
    limit: int,
    as_json: bool,
) -> None:
    """Read the log of what admins and operators have done, newest first."""

    async def act(opened: Operating) -> list[Record]:
        from chatapp.storage import audit as log

        if action is not None and action not in get_args(log.ActionName):
            raise ValueError(f"there is no act {action}; there are: {', '.join(get_args(log.ActionName))}")
        actor_id = None if by is None else (await opened.operators.find(by)).profile.id
        return await log.page(
            opened.database,
            limit=limit,
            before=before,
            target=target,
            actor_id=actor_id,
            action=msgspec.convert(action, log.ActionName | None),
            since=since,
        )

    records = operate(path, act)
    if as_json:
        print_json(records)
        return
    print_table(
        ("number", "time (UTC)", "who", "act", "target", "details"),
        [
            (r.id, f"{r.at:%Y-%m-%d %H:%M:%S}", f"{r.actor.kind} {r.actor.name}", r.action, r.target, _details(r))
            for r in records
        ],
        right=("number",),
    )


def _details(record: Record) -> str:
    facts = msgspec.to_builtins(record.details)
    return ", ".join(f"{name}={value}" for name, value in facts.items())
