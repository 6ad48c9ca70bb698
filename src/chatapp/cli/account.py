"""Who uses the terminal client: the options that tell, and the log-in. The token stays in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import click
from msgspec import Struct

if TYPE_CHECKING:
    from chatapp.client import Client

_PATIENT_S = 2.0
"""Without an answer for so long one is told that it takes longer."""

P = ParamSpec("P")
T = TypeVar("T")


class Account(Struct, frozen=True):
    """The service, and who one is there."""

    urls: tuple[str, ...]
    username: str
    password: str
    register: bool

    def __repr__(self) -> str:
        """Without the password."""
        return f"Account({self.username!r})"


def account_options(command: Callable[P, T]) -> Callable[P, T]:
    """``--url``, ``--user`` and ``--register``; the password is asked for, or ``CHATAPP_PASSWORD``."""
    for option in (
        click.option("--register", is_flag=True, help="Make the account first."),
        click.option("-u", "--user", envvar="CHATAPP_USER", prompt="User", help="User name.  [env: CHATAPP_USER]"),
        click.option(
            "--url",
            "urls",
            multiple=True,
            envvar="CHATAPP_URL",
            default=("http://localhost:8080",),
            help="Of the service; several are tried in turn.  [env: CHATAPP_URL; default: http://localhost:8080]",
        ),
    ):
        command = option(command)
    return command


def ask_for(urls: tuple[str, ...], user: str, register: bool) -> Account:
    """The account, with its password from ``CHATAPP_PASSWORD`` or the keyboard."""
    import os

    password = os.environ.get("CHATAPP_PASSWORD") or click.prompt(
        "Password", hide_input=True, confirmation_prompt=register, err=True
    )
    return Account(urls, user, password, register)


def run(account: Account, act: Callable[[Client], Coroutine[None, None, None]]) -> None:
    """Log in and act, until it is over or Ctrl-C. What fails is told in a sentence, and ends the command with 1."""
    from chatapp.client import ClientError

    try:
        asyncio.run(_run(account, act))
    except (ClientError, ValueError) as error:
        raise click.ClickException(str(error)) from None
    except KeyboardInterrupt:
        click.echo(err=True)


async def _run(account: Account, act: Callable[[Client], Coroutine[None, None, None]]) -> None:
    from chatapp.client import Client

    async with Client(*account.urls) as client:
        enter = client.register if account.register else client.login
        addresses = ", ".join(account.urls)
        hint = asyncio.get_running_loop().call_later(
            _PATIENT_S, lambda: click.echo(f"no answer from {addresses} yet, going on to try", err=True)
        )
        try:
            await enter(account.username, account.password, remember=True)
        finally:
            hint.cancel()
        await act(client)
