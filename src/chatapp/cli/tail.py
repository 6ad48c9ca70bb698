"""``tail``: a chat as it happens, for people and for pipes."""

from __future__ import annotations

import json
import sys
from functools import partial
from typing import TYPE_CHECKING

import click

from chatapp.cli.account import account_options, ask_for, run

if TYPE_CHECKING:
    from chatapp.client import Client


@click.command()
@click.argument("chat", metavar="CHAT")
@account_options
@click.option("--since", type=click.IntRange(min=0), help="Begin after this number; 0: with the first message.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, as on the socket.")
@click.option("--count", type=click.IntRange(min=1), help="End after so many lines.")
def tail(
    chat: str, urls: tuple[str, ...], user: str, register: bool, since: int | None, as_json: bool, count: int | None
) -> None:
    """Print a chat as it happens, until Ctrl-C. How the connection is goes to standard error.

    CHAT is the number or the name of a chat, or @somebody for the direct chat with a user.
    """
    run(ask_for(urls, user, register), partial(_tail, asked=chat, since=since, as_json=as_json, count=count or 0))


async def _tail(client: Client, asked: str, since: int | None, as_json: bool, count: int) -> None:
    import msgspec

    from chatapp.cli.finding import find_chat
    from chatapp.cli.showing import Screen
    from chatapp.client import Bookmark, ClientError, NotFollowed
    from chatapp.client.events import place_of
    from chatapp.protocol.ids import Seq

    here = (await find_chat(client, asked)).id
    out, err = Screen(sys.stdout), Screen(sys.stderr)
    start = Bookmark() if since is None else Bookmark(positions={here: Seq(since)})
    printed = 0
    async with client.session(bookmark=start, only=[here]) as session:
        async for event in session:
            if isinstance(event, NotFollowed):
                raise ClientError(f"chat {here} cannot be followed: {event.code}")
            if place_of(event) is None:
                err.connection(event)
                continue
            if as_json:
                # ASCII only: nothing in it can do anything to a terminal.
                click.echo(json.dumps(msgspec.to_builtins(event)))
            else:
                out.event(event)
            printed += 1
            if printed == count:
                return
