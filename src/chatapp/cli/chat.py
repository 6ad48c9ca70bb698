"""``chat``: a terminal client, line by line."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

import click

from chatapp.cli.account import account_options, ask_for, run

if TYPE_CHECKING:
    from chatapp.client import Client


@click.command()
@click.argument("chat", metavar="[CHAT]", default="")
@account_options
def chat(chat: str, urls: tuple[str, ...], user: str, register: bool) -> None:
    """Chat in a terminal, or through a pipe.

    CHAT is the number or the name of a chat, or @somebody for the direct chat with a user; without it, one's chats are
    listed. Every line is a message; /help tells what else there is.
    """
    run(ask_for(urls, user, register), partial(_chat, asked=chat))


async def _chat(client: Client, asked: str) -> None:
    from chatapp.cli.conversation import Conversation
    from chatapp.cli.keyboard import typed_lines
    from chatapp.cli.showing import Screen

    async with client.session() as session:
        await Conversation(client, session, Screen(sys.stdout), typed_lines(sys.stdin)).run(asked)
