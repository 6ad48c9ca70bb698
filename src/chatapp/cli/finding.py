"""Which chat or user somebody means, by what is typed."""

from __future__ import annotations

from chatapp.cli.untrusted import one_line
from chatapp.client import Client, ClientError
from chatapp.protocol.ids import UserId
from chatapp.protocol.views import Chat


class NotFoundByName(ClientError):
    """Nothing has this name."""


async def find_chat(client: Client, asked: str) -> Chat:
    """By its number, its name, or ``@somebody`` for the direct chat with a user, which is made where there is none.

    Raises ``NotFoundByName``, and what a client's calls raise.
    """
    if asked.startswith("@"):
        return await client.chats.direct(await find_user(client, asked))
    if asked.isascii() and asked.isdigit():
        return await client.chats.get(int(asked))
    async for chat in client.chats.all():
        if chat.name.casefold() == asked.casefold():
            return chat
    raise NotFoundByName(f"you are in no chat {one_line(asked)!r}")


async def find_user(client: Client, name: str) -> UserId:
    """By user name, with or without ``@``. Raises as ``find_chat``."""
    wanted = name.removeprefix("@").casefold()
    for user in await client.users.page(q=wanted, limit=100):
        if user.username.casefold() == wanted:
            return user.id
    raise NotFoundByName(f"there is no user {one_line(name)!r}")
