"""The whole demo, from the start to Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import Struct

from chatapp.client import ClientError
from chatapp.demo.bot import run_bot
from chatapp.demo.people import Person, settle
from chatapp.demo.replicas import DemoFailed, Replica, choose_ports, end, keep_alive
from chatapp.demo.story import load_story

PORTS = (8080, 8081)
_GUESTS = ("ann", "bob")


class Link(Struct, frozen=True):
    """Where to go, and as whom. The password is of this run."""

    url: str
    username: str
    password: str
    pid: int

    def __repr__(self) -> str:
        """Without the password."""
        return f"Link({self.url!r}, {self.username!r})"


class Shown(Struct, frozen=True):
    """What there is to see: one link for each replica, and the bot's name."""

    links: list[Link]
    bot: str


def show(ports: Sequence[int], started: Callable[[Shown], None], tell: Callable[[str], None]) -> None:
    """Run the demo until SIGINT, SIGTERM or SIGHUP; ``started`` is called once, when everything is there.

    ``ports``: two preferred ones. ``tell`` gets sentences on what happens. Blocks, and leaves nothing behind. Raises
    DemoFailed.
    """
    with tempfile.TemporaryDirectory(prefix="chatapp-demo-") as made:
        replicas = [Replica(port, Path(made)) for port in choose_ports(ports)]
        try:
            asyncio.run(_until_signal(replicas, started, tell))
        finally:
            tell("Ending …")
            end(replicas)


async def _until_signal(
    replicas: Sequence[Replica], started: Callable[[Shown], None], tell: Callable[[str], None]
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    work = asyncio.create_task(_run(replicas, started, tell))
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait((work, stopped), return_when=asyncio.FIRST_COMPLETED)
    for task in (work, stopped):
        task.cancel()
    (outcome, _) = await asyncio.gather(work, stopped, return_exceptions=True)
    if isinstance(outcome, Exception):
        raise outcome


async def _run(replicas: Sequence[Replica], started: Callable[[Shown], None], tell: Callable[[str], None]) -> None:
    tell("Starting two replicas with PostgreSQL and Valkey of their own …")
    for replica in replicas:
        replica.start()
    for replica in replicas:
        await replica.ready()
    story = load_story()
    try:
        people = await settle(story, replicas[0].url)
    except* ClientError as error:
        raise DemoFailed(f"the people of the demo could not settle in: {error.exceptions[0]}") from error
    listening = asyncio.Event()
    bot = asyncio.create_task(run_bot(people[story.bot], [replica.url for replica in reversed(replicas)], listening))
    keeping = asyncio.create_task(keep_alive(replicas, tell))
    heard = asyncio.create_task(listening.wait())
    try:
        await asyncio.wait((heard, bot, keeping), return_when=asyncio.FIRST_COMPLETED)
        if heard.done():
            started(Shown([_link(r, people[name]) for r, name in zip(replicas, _GUESTS, strict=True)], story.bot))
            await asyncio.wait((bot, keeping), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (bot, keeping, heard):
            task.cancel()
        outcomes = await asyncio.gather(bot, keeping, heard, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, ClientError):
            raise DemoFailed(f"the bot cannot go on: {outcome}") from outcome
        if isinstance(outcome, Exception):
            raise outcome


def _link(replica: Replica, person: Person) -> Link:
    return Link(f"{replica.url}/", person.username, person.password, replica.pid)
