"""``token``: tokens of users, without their passwords."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from chatapp.cli.configured import config_option
from chatapp.cli.operated import json_option, operate, print_json, print_table, read_secret
from chatapp.cli.user import day

if TYPE_CHECKING:
    from chatapp.app.operating import Operating
    from chatapp.storage.sessions import SessionRow


@click.group()
def token() -> None:
    """Issue tokens for users, list their sessions, and end them. What is done is in the audit log."""


@token.command()
@config_option
@click.argument("user")
@click.option(
    "--hours", type=click.FloatRange(0, min_open=True), help="How long it lasts.  [default and most: the settings']"
)
@json_option
def issue(path: Path | None, user: str, hours: float | None, as_json: bool) -> None:
    """Print a token for a user. It can do all that the user can, so mind where it goes; the user sees its session.

    Needs the replicas' auth.paseto_key.
    """

    async def act(opened: Operating) -> dict[str, object]:
        found = await opened.operators.find(user)
        token = await opened.operators.issue_token(found.profile.id)
        issued = opened.operators.read_token(token)
        return {
            "token": token,
            "user_id": issued.user_id,
            "username": issued.username,
            "session_id": issued.session_id,
            "expires_at": issued.expires_at,
        }

    made = operate(path, act, lifetime_s=None if hours is None else hours * 3600, needs_key=True)
    if as_json:
        print_json(made)
    else:
        click.echo(made["token"])


@token.command("list")
@config_option
@click.argument("user")
@json_option
def list_sessions(path: Path | None, user: str, as_json: bool) -> None:
    """List a user's sessions: the logins whose tokens are valid."""

    async def act(opened: Operating) -> list[SessionRow]:
        found = await opened.operators.find(user)
        return await opened.operators.sessions_of(found.profile.id)

    rows = operate(path, act)
    if as_json:
        print_json([_shown(row) for row in rows])
        return
    print_table(
        ("session", "since", "last seen", "expires", "address", "user agent"),
        [
            (
                row.id,
                day(row.created_at),
                day(row.last_seen),
                day(row.expires_at),
                row.origin.address,
                row.origin.user_agent,
            )
            for row in rows
        ],
        right=("session",),
    )


@token.command()
@config_option
@click.option("--user", help="Whose: a name or an id. With --session or --all.")
@click.option("--session", "session_id", type=click.IntRange(1), help="End this session of the user.")
@click.option("--all", "every", is_flag=True, help="End all of the user's sessions and tokens.")
@json_option
def revoke(path: Path | None, user: str | None, session_id: int | None, every: bool, as_json: bool) -> None:
    """End tokens everywhere: they are refused, and their sockets close, within a second.

    Without options, the token that is typed or comes as the first line of standard input, with its whole session
    (this needs the replicas' auth.paseto_key). With --user, one of the user's sessions, or all.
    """
    if (user is not None) != (every or session_id is not None) or (every and session_id is not None):
        raise click.UsageError("give --user with either --session or --all, or nothing and a token on standard input")
    token = read_secret("Token") if user is None else ""

    async def act(opened: Operating) -> dict[str, object]:
        from chatapp.protocol.ids import SessionId

        operators = opened.operators
        if user is None:
            ended = await operators.end_token(token.strip())
            return {"user_id": ended.user_id, "session_id": ended.session_id, "all": False}
        found = await operators.find(user)
        if every:
            await operators.end_sessions(found.profile.id)
        elif session_id is not None:
            await operators.end_session(found.profile.id, SessionId(session_id))
        return {"user_id": found.profile.id, "session_id": session_id, "all": every}

    done = operate(path, act, needs_key=user is None)
    if as_json:
        print_json(done)
    else:
        what = "all sessions" if every else f"session {done['session_id']}"
        click.echo(f"{what} of user {done['user_id']}: ended")


def _shown(row: SessionRow) -> dict[str, object]:
    return {
        "id": row.id,
        "created_at": row.created_at,
        "last_seen": row.last_seen,
        "expires_at": row.expires_at,
        "address": row.origin.address,
        "user_agent": row.origin.user_agent,
    }
