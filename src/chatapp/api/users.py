"""``/users``: look up, search, change and delete one's own profile."""

from __future__ import annotations

from datetime import datetime

from litestar import Controller, delete, get, post, put
from litestar.di import NamedDependency
from msgspec import UNSET, Struct

from chatapp.api import bodies, examples
from chatapp.api.authentication import Call
from chatapp.api.documentation import BEARER, PAGE, operation
from chatapp.api.parameters import Query, user_id
from chatapp.api.reading import read
from chatapp.protocol.views import Profile
from chatapp.services.users import Users

_PATH = ("user_id",)


class LastSeen(Struct, frozen=True):
    """When the user was last here."""

    last_seen: datetime
    success: bool = True


class UsersController(Controller):
    """Profiles."""

    path = "/users"
    tags = ["users"]  # noqa: RUF012 (Litestar's way)
    security = BEARER

    @get(
        "/",
        summary="List or search users",
        operation_class=operation(query=(*PAGE, "q"), gives=[examples.PROFILE]),
    )
    async def page(self, request: Call, users: NamedDependency[Users]) -> list[Profile]:
        """By user name. ``q`` is a prefix of user name or display name, without regard to case."""
        query = Query(request)
        page = query.page()
        return await users.page(limit=page.limit, offset=page.offset, q=query.text("q"))

    @get(
        "/{user_id:str}",
        summary="One user",
        operation_class=operation(path=_PATH, gives=examples.PROFILE, refuses=(404,)),
    )
    async def one(self, request: Call, users: NamedDependency[Users]) -> Profile:
        """Anybody's profile."""
        return await users.get(user_id(request))

    @put(
        "/{user_id:str}",
        summary="Change one's own profile",
        operation_class=operation(
            path=_PATH,
            takes=bodies.UpdateUser,
            example={"display_name": "Alice A."},
            gives=examples.PROFILE,
            refuses=(403,),
        ),
    )
    async def update(self, request: Call, users: NamedDependency[Users]) -> Profile:
        """What is left out stays. A new password ends all other tokens of the user."""
        whose = user_id(request)
        body = await read(request, bodies.UpdateUser)
        return await users.update(
            request.user,
            whose,
            display_name=None if body.display_name is UNSET else body.display_name,
            password=None if body.password is UNSET else body.password,
        )

    @delete(
        "/{user_id:str}",
        summary="Delete one's own account",
        operation_class=operation(path=_PATH, refuses=(403,)),
    )
    async def remove(self, request: Call, users: NamedDependency[Users]) -> None:
        """The name is free, memberships and tokens end, messages stay as from a deleted user."""
        await users.delete(request.user, user_id(request))

    @post(
        "/last-seen",
        status_code=200,
        summary="Note that one is here",
        operation_class=operation(gives=LastSeen(examples.PROFILE.created_at)),
    )
    async def last_seen(self, request: Call, users: NamedDependency[Users]) -> LastSeen:
        """Sets ``last_seen`` to now."""
        return LastSeen(await users.touch_last_seen(request.user))
