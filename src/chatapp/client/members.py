"""``/chats/{chat_id}/members``: who is in a group, and who is its admin."""

from __future__ import annotations

from collections.abc import Collection

from msgspec import Struct

from chatapp.client.rest import Rest, decoded
from chatapp.protocol.views import Member


class _Ids(Struct, frozen=True):
    member_ids: list[int]


class _Role(Struct, frozen=True):
    is_admin: bool


class Members:
    """Memberships. What every call may raise: see ``Rest``."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest

    async def page(self, chat_id: int, *, limit: int = 50, offset: int = 0) -> list[Member]:
        """In the order of joining."""
        return await self._rest.get(f"/chats/{chat_id}/members", list[Member], {"limit": limit, "offset": offset})

    async def add(self, chat_id: int, user_ids: Collection[int]) -> None:
        """For admins. Adding someone twice is no error."""
        await self._rest.ask("POST", f"/chats/{chat_id}/members", body=_Ids(list(user_ids)))

    async def set_admin(self, chat_id: int, user_id: int, is_admin: bool) -> Member:
        """Give or take the role, for admins. Raises ``Conflict`` when nobody would have it."""
        content = await self._rest.ask("PATCH", f"/chats/{chat_id}/members/{user_id}", body=_Role(is_admin), safe=False)
        return decoded(content, Member)

    async def remove(self, chat_id: int, user_id: int) -> None:
        """For admins, and for oneself: leave."""
        await self._rest.ask("DELETE", f"/chats/{chat_id}/members/{user_id}")
