"""``demo``: two replicas, people, history and a bot, until Ctrl-C."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from chatapp.demo.show import Shown

_PORT = click.IntRange(1, 65535)


@click.command()
@click.option(
    "--ports",
    type=(_PORT, _PORT),
    default=(8080, 8081),
    show_default=True,
    help="Of the two replicas, on 127.0.0.1; what is taken is replaced by the next that is free.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the links as one line of JSON.")
def demo(ports: tuple[int, int], as_json: bool) -> None:
    """Show the service: two replicas, a few people who have talked, a bot, and a link to each replica's web client.

    PostgreSQL and Valkey are started too, in a directory that is removed at the end. Nothing that is configured here
    is used or touched. Ctrl-C ends it.
    """
    from chatapp.demo.replicas import DemoFailed
    from chatapp.demo.show import show

    try:
        show(ports, _print_json if as_json else _print, _tell)
    except DemoFailed as error:
        raise click.ClickException(str(error)) from None


def _print(shown: Shown) -> None:
    width = max(len(link.username) for link in shown.links)
    click.echo("\nTwo replicas of one service. Open both links, side by side:\n")
    for link in shown.links:
        click.echo(f"  {link.url}   user {link.username:<{width}}   password {link.password}   (process {link.pid})")
    click.echo(f"\nWrite in “Sunday walk”, or to {shown.bot}, who is a bot: “{shown.bot}, what time is it?”")
    click.echo(
        f"Kill a replica (kill -9 {shown.links[0].pid}) and write on in the other: nothing is missing afterwards."
    )
    click.echo("Ctrl-C ends it; nothing is kept.\n")


def _print_json(shown: Shown) -> None:
    import msgspec

    click.echo(msgspec.json.encode(shown))


def _tell(sentence: str) -> None:
    click.echo(sentence, err=True)
