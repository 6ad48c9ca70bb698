"""The people of the story: registered, and with all that they have said."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from contextlib import AsyncExitStack

from msgspec import Struct

from chatapp.client import Client
from chatapp.demo.story import Story, Talk
from chatapp.protocol.ids import UserId

_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"
"""None that is taken for another."""


class Person(Struct, frozen=True):
    """Somebody who can log in."""

    user_id: UserId
    username: str
    password: str

    def __repr__(self) -> str:
        """Without the password."""
        return f"Person({self.username!r})"


async def settle(story: Story, url: str) -> dict[str, Person]:
    """Register everybody at this replica, and let them say what is in the story, the last talk last.

    What it raises: see ``Client``; in an ``ExceptionGroup`` when it happens while they talk.
    """
    async with AsyncExitStack() as stack:
        clients: dict[str, Client] = {}
        people: dict[str, Person] = {}
        for username, shown in story.people.items():
            client = await stack.enter_async_context(Client(url, trust_env=False))
            password = new_password()
            signed_in = await client.register(username, password, shown)
            clients[username] = client
            people[username] = Person(signed_in.user.id, username, password)
        *before, last = story.talks
        async with asyncio.TaskGroup() as talking:
            for talk in before:
                talking.create_task(_hold(talk, clients, people))
        await _hold(last, clients, people)
    return people


def new_password() -> str:
    """Three groups of four letters to type: 60 random bits."""
    return "-".join("".join(secrets.choice(_LETTERS) for _ in range(4)) for _ in range(3))


async def _hold(talk: Talk, clients: Mapping[str, Client], people: Mapping[str, Person]) -> None:
    first, *others = talk.members
    ids = [people[username].user_id for username in others]
    chats = clients[first].chats
    chat = await (chats.group(talk.name, ids) if talk.name else chats.direct(ids[0]))
    for line in talk.lines:
        await clients[line.who].messages.send(chat.id, line.text)
