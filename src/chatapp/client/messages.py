"""``/messages``: send, read, edit, delete."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

from msgspec import Struct

from chatapp.client.errors import Invalid
from chatapp.client.rest import Rest, decoded
from chatapp.protocol.text import is_storable
from chatapp.protocol.views import Message

PAGE = 100
"""The most messages of one answer."""


class _New(Struct, frozen=True):
    chat_id: int
    content: str


class _Content(Struct, frozen=True):
    content: str


class Messages:
    """Messages over REST. What every call may raise: see ``Rest``."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest

    async def send(self, chat_id: int, content: str, *, key: str | None = None) -> Message:
        """What is returned is on disk. ``key`` (1 to 64 visible ASCII characters): one message, however often sent."""
        _check(content)
        key = key or secrets.token_urlsafe(15)
        return decoded(await self._rest.ask("POST", "/messages", body=_New(chat_id, content), key=key), Message)

    async def get(self, message_id: int) -> Message:
        """One message with its sender. Raises ``NotFound``."""
        return await self._rest.get(f"/messages/{message_id}", Message)

    async def page(
        self, chat_id: int, *, before: int | None = None, after: int | None = None, limit: int = 50, offset: int = 0
    ) -> list[Message]:
        """Newest first; with ``after`` (a ``seq``) oldest first. Deleted messages are left out."""
        query = {"before": before, "after": after, "limit": limit, "offset": offset}
        return await self._rest.get(f"/messages/chat/{chat_id}", list[Message], query)

    async def all(self, chat_id: int, *, after: int = 0) -> AsyncIterator[Message]:
        """All after ``after``, oldest first, page by page."""
        while True:
            page = await self.page(chat_id, after=after, limit=PAGE)
            for message in page:
                yield message
                after = message.seq
            if len(page) < PAGE:
                return

    async def edit(self, message_id: int, content: str) -> Message:
        """For its sender. Not repeated when its answer is lost: it could undo a later edit."""
        _check(content)
        return decoded(
            await self._rest.ask("PUT", f"/messages/{message_id}", body=_Content(content), safe=False), Message
        )

    async def delete(self, message_id: int) -> None:
        """For its sender, and for admins of the group."""
        await self._rest.ask("DELETE", f"/messages/{message_id}")


def _check(content: str) -> None:
    if not is_storable(content):
        raise Invalid("validation_failed", "the content has a NUL or a lone surrogate")
