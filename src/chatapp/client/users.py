"""``/users``: look up, search, change and delete one's own profile."""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType

from chatapp.client.answers import LastSeen
from chatapp.client.rest import Rest, decoded
from chatapp.protocol.views import Profile


class _Changes(Struct, frozen=True):
    display_name: str | UnsetType = UNSET
    password: str | UnsetType = UNSET


class Users:
    """Profiles. What every call may raise: see ``Rest``."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest

    async def page(self, *, q: str | None = None, limit: int = 50, offset: int = 0) -> list[Profile]:
        """By user name. ``q``: a prefix of user name or display name, without regard to case."""
        return await self._rest.get("/users", list[Profile], {"q": q, "limit": limit, "offset": offset})

    async def get(self, user_id: int) -> Profile:
        """Anybody's profile. Raises ``NotFound``."""
        return await self._rest.get(f"/users/{user_id}", Profile)

    async def update(self, user_id: int, *, display_name: str | None = None, password: str | None = None) -> Profile:
        """Change one's own profile; None stays as it is. A new password ends all other tokens."""
        body = _Changes(
            UNSET if display_name is None else display_name,
            UNSET if password is None else password,
        )
        return decoded(await self._rest.ask("PUT", f"/users/{user_id}", body=body, safe=False), Profile)

    async def delete(self, user_id: int) -> None:
        """Delete one's own account: the name is free, memberships and tokens end, messages stay."""
        await self._rest.ask("DELETE", f"/users/{user_id}")

    async def touch_last_seen(self) -> LastSeen:
        """Note that one is here."""
        return decoded(await self._rest.ask("POST", "/users/last-seen"), LastSeen)
