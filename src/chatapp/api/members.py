"""``/chats/{chat_id}/members``: who is in a group, and who is its admin."""

from __future__ import annotations

from litestar import Controller, delete, get, patch, post
from litestar.di import NamedDependency
from msgspec import Struct

from chatapp.api import bodies, examples
from chatapp.api.authentication import Call
from chatapp.api.documentation import BEARER, PAGE, operation
from chatapp.api.parameters import Query, chat_id, user_id
from chatapp.api.reading import read
from chatapp.protocol.ids import UserId
from chatapp.protocol.views import Member
from chatapp.services.members import Members

_CHAT = ("chat_id",)
_MEMBER = ("chat_id", "member_id")


class Done(Struct, frozen=True):
    """It is done."""

    message: str
    success: bool = True


ADDED = Done("members added successfully")
REMOVED = Done("member removed successfully")


class MembersController(Controller):
    """Memberships of one chat. Those of a direct chat cannot be changed."""

    path = "/chats/{chat_id:str}/members"
    tags = ["members"]  # noqa: RUF012 (Litestar's way)
    security = BEARER

    @get(
        "/",
        summary="The members of a chat",
        operation_class=operation(path=_CHAT, query=PAGE, gives=[examples.MEMBER], refuses=(403,)),
    )
    async def page(self, request: Call, members: NamedDependency[Members]) -> list[Member]:
        """For members, in the order of joining."""
        page = Query(request).page()
        return await members.page(request.user, chat_id(request), limit=page.limit, offset=page.offset)

    @post(
        "/",
        status_code=200,
        summary="Add members",
        operation_class=operation(
            path=_CHAT, takes=bodies.AddMembers, example={"member_ids": [4]}, gives=ADDED, refuses=(403,)
        ),
    )
    async def add(self, request: Call, members: NamedDependency[Members]) -> Done:
        """For admins. Adding someone twice is no error."""
        which = chat_id(request)
        body = await read(request, bodies.AddMembers)
        await members.add(request.user, which, [UserId(member_id) for member_id in body.member_ids])
        return ADDED

    @patch(
        "/{member_id:str}",
        summary="Give or take the role of admin",
        operation_class=operation(
            path=_MEMBER,
            takes=bodies.SetAdmin,
            example={"is_admin": True},
            gives=examples.MEMBER,
            refuses=(403, 404, 409),
        ),
    )
    async def set_admin(self, request: Call, members: NamedDependency[Members]) -> Member:
        """For admins. A group keeps at least one."""
        which, whose = chat_id(request), user_id(request, "member_id")
        body = await read(request, bodies.SetAdmin)
        return await members.set_admin(request.user, which, whose, is_admin=body.is_admin)

    @delete(
        "/{member_id:str}",
        status_code=200,
        summary="Remove a member, or leave",
        operation_class=operation(path=_MEMBER, gives=REMOVED, refuses=(403, 404)),
    )
    async def remove(self, request: Call, members: NamedDependency[Members]) -> Done:
        """For admins, and for oneself. When the last admin goes, the longest-standing member becomes one."""
        await members.remove(request.user, chat_id(request), user_id(request, "member_id"))
        return REMOVED
