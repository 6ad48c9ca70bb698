"""``/chats``: groups and direct chats."""

from __future__ import annotations

from litestar import Controller, Response, delete, get, post, put
from litestar.di import NamedDependency

from chatapp.api import bodies, examples
from chatapp.api.authentication import Call
from chatapp.api.documentation import BEARER, PAGE, operation
from chatapp.api.parameters import Query, chat_id
from chatapp.api.reading import read
from chatapp.protocol.ids import UserId
from chatapp.protocol.views import Chat, ChatDetail
from chatapp.services.chats import Chats

_PATH = ("chat_id",)


class ChatsController(Controller):
    """Chats, without their members and messages."""

    path = "/chats"
    tags = ["chats"]  # noqa: RUF012 (Litestar's way)
    security = BEARER

    @post(
        "/",
        summary="Create a chat",
        operation_class=operation(
            takes=bodies.CreateChat,
            example={"name": "climbing", "is_group": True, "member_ids": [2, 3]},
            gives=examples.CHAT,
            repeats=True,
        ),
    )
    async def create(self, request: Call, chats: NamedDependency[Chats]) -> Response[Chat]:
        """The creator is a member and admin and need not be listed.

        A direct chat has exactly one other member and exists once per pair: asking again answers 200 with the same.
        """
        body = await read(request, bodies.CreateChat)
        made = await chats.create(
            request.user,
            name=body.name,
            is_group=body.is_group,
            member_ids=[UserId(member_id) for member_id in body.member_ids],
        )
        return Response(made.chat, status_code=201 if made.created else 200)

    @get(
        "/",
        summary="One's own chats",
        operation_class=operation(query=(*PAGE, "with_members"), gives=[examples.CHAT_DETAIL]),
    )
    async def page(self, request: Call, chats: NamedDependency[Chats]) -> list[ChatDetail]:
        """Last active first, each with at most 100 members."""
        query = Query(request)
        page = query.page()
        with_members = query.flag("with_members", default=True)
        return await chats.page(request.user, limit=page.limit, offset=page.offset, with_members=with_members)

    @get(
        "/{chat_id:str}",
        summary="One chat",
        operation_class=operation(path=_PATH, gives=examples.CHAT_DETAIL, refuses=(403,)),
    )
    async def one(self, request: Call, chats: NamedDependency[Chats]) -> ChatDetail:
        """For its members. 403 also when there is no such chat."""
        return await chats.get(request.user, chat_id(request))

    @put(
        "/{chat_id:str}",
        summary="Rename a chat",
        operation_class=operation(
            path=_PATH, takes=bodies.RenameChat, example={"name": "bouldering"}, gives=examples.CHAT, refuses=(403,)
        ),
    )
    async def rename(self, request: Call, chats: NamedDependency[Chats]) -> Chat:
        """For its admins."""
        which = chat_id(request)
        body = await read(request, bodies.RenameChat)
        return await chats.rename(request.user, which, body.name)

    @delete(
        "/{chat_id:str}",
        summary="Delete a chat",
        operation_class=operation(path=_PATH, refuses=(403, 404)),
    )
    async def remove(self, request: Call, chats: NamedDependency[Chats]) -> None:
        """For its creator: with all that is in it."""
        await chats.delete(request.user, chat_id(request))
