"""``/chats``: groups and direct chats."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection

from msgspec import Struct

from chatapp.client.rest import Rest, decoded
from chatapp.protocol.views import Chat, ChatDetail

_PAGE = 100


class _New(Struct, frozen=True):
    name: str
    is_group: bool
    member_ids: list[int]


class _Name(Struct, frozen=True):
    name: str


class Chats:
    """Chats, without their messages. What every call may raise: see ``Rest``."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest

    async def group(self, name: str, member_ids: Collection[int]) -> Chat:
        """A new group of oneself and these. Not repeated when its answer is lost: it may be there already."""
        body = _New(name, True, list(member_ids))
        return decoded(await self._rest.ask("POST", "/chats", body=body, safe=False), Chat)

    async def direct(self, user_id: int) -> Chat:
        """The direct chat with this user, which exists once."""
        return decoded(await self._rest.ask("POST", "/chats", body=_New("", False, [user_id])), Chat)

    async def page(self, *, limit: int = 50, offset: int = 0, with_members: bool = True) -> list[ChatDetail]:
        """One's own chats, last active first; members: at most 100 of each."""
        query = {"limit": limit, "offset": offset, "with_members": "true" if with_members else "false"}
        return await self._rest.get("/chats", list[ChatDetail], query)

    async def all(self) -> AsyncIterator[ChatDetail]:
        """One's own chats, without members, page by page. What becomes active meanwhile may come twice."""
        offset = 0
        while True:
            page = await self.page(limit=_PAGE, offset=offset, with_members=False)
            for chat in page:
                yield chat
            if len(page) < _PAGE:
                return
            offset += _PAGE

    async def get(self, chat_id: int) -> ChatDetail:
        """One chat. Raises ``Forbidden`` to who is no member, also when there is no such chat."""
        return await self._rest.get(f"/chats/{chat_id}", ChatDetail)

    async def rename(self, chat_id: int, name: str) -> Chat:
        """For its admins."""
        return decoded(await self._rest.ask("PUT", f"/chats/{chat_id}", body=_Name(name), safe=False), Chat)

    async def delete(self, chat_id: int) -> None:
        """For its creator: with all that is in it."""
        await self._rest.ask("DELETE", f"/chats/{chat_id}")
