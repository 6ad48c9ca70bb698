"""``user``: accounts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
from msgspec import Struct

from chatapp.cli.configured import config_option
from chatapp.cli.operated import json_option, operate, print_json, print_table, read_secret

if TYPE_CHECKING:
    from chatapp.app.operating import Operating
    from chatapp.protocol.ids import UserId
    from chatapp.services.operators import Operators
    from chatapp.storage.users import Account

_PAGE = 500


class Shown(Struct, frozen=True, kw_only=True):
    """An account, as JSON shows it."""

    id: int
    username: str
    display_name: str
    created_at: datetime
    last_seen: datetime | None
    suspended_at: datetime | None


@click.group()
def user() -> None:
    """Look after accounts, also while the service runs. What is done is in the audit log.

    USER is a name or an id.
    """


@user.command()
@config_option
@click.argument("username")
@click.option("--display-name", default="", help="Shown beside the name.")
@json_option
def create(path: Path | None, username: str, display_name: str, as_json: bool) -> None:
    """Make an account. The password is asked for, or the first line of standard input."""
    password = read_secret("Password", confirm=True)

    async def act(opened: Operating) -> Account:
        made = await opened.operators.create_user(username, password, display_name)
        return await opened.operators.find(str(made.id))

    _tell(operate(path, act), as_json, "is made")


@user.command("set-password")
@config_option
@click.argument("user")
@json_option
def set_password(path: Path | None, user: str, as_json: bool) -> None:
    """Set a new password and end all of the user's tokens. It is asked for, or the first line of standard input."""
    password = read_secret("New password", confirm=True)

    async def act(opened: Operating) -> Account:
        found = await opened.operators.find(user)
        await opened.operators.set_password(found.profile.id, password)
        return found

    _tell(operate(path, act), as_json, "has a new password and is logged out everywhere")


@user.command()
@config_option
@click.argument("user")
@json_option
def suspend(path: Path | None, user: str, as_json: bool) -> None:
    """Shut an account: no login, all tokens end, open sockets close within a second. Its messages stay."""
    _tell(operate(path, partial(_act, name=user, act=lambda o: o.suspend)), as_json, "is suspended")


@user.command()
@config_option
@click.argument("user")
@json_option
def reinstate(path: Path | None, user: str, as_json: bool) -> None:
    """Open a suspended account again. The user logs in anew."""
    _tell(operate(path, partial(_act, name=user, act=lambda o: o.reinstate)), as_json, "is reinstated")


@user.command("list")
@config_option
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=100, show_default=True, help="At most so many.")
@click.option("--offset", type=click.IntRange(0), default=0, show_default=True, help="Leave out the first.")
@click.option("--suspended", is_flag=True, help="Only those that are.")
@json_option
def list_users(path: Path | None, limit: int, offset: int, suspended: bool, as_json: bool) -> None:
    """List accounts by name, or show those that are suspended."""

    async def act(opened: Operating) -> list[Account]:
        found: list[Account] = []
        at = offset
        while len(found) < limit:
            page = await opened.operators.page(limit=_PAGE, offset=at)
            found += [one for one in page if not suspended or one.suspended_at is not None]
            at += _PAGE
            if len(page) < _PAGE:
                break
        return found[:limit]

    shown = [_shown(account) for account in operate(path, act)]
    if as_json:
        print_json(shown)
        return
    print_table(
        ("id", "username", "display name", "created", "last seen", "suspended"),
        [
            (one.id, one.username, one.display_name, day(one.created_at), day(one.last_seen), day(one.suspended_at))
            for one in shown
        ],
        right=("id",),
    )


def day(at: datetime | None) -> str:
    """A time for people, in UTC; a dash for none."""
    return "-" if at is None else f"{at:%Y-%m-%d %H:%M}"


async def _act(
    opened: Operating, *, name: str, act: Callable[[Operators], Callable[[UserId], Awaitable[None]]]
) -> Account:
    found = await opened.operators.find(name)
    await act(opened.operators)(found.profile.id)
    return await opened.operators.find(str(found.profile.id))


def _tell(account: Account, as_json: bool, done: str) -> None:
    if as_json:
        print_json(_shown(account))
    else:
        click.echo(f"{account.profile.username} (id {account.profile.id}) {done}")


def _shown(account: Account) -> Shown:
    profile = account.profile
    return Shown(
        id=profile.id,
        username=profile.username,
        display_name=profile.display_name or "",
        created_at=profile.created_at,
        last_seen=profile.last_seen or None,
        suspended_at=account.suspended_at,
    )
