"""``/messages``: send, read, edit, delete."""

from __future__ import annotations

from litestar import Controller, Response, delete, get, post, put
from litestar.di import NamedDependency

from chatapp.api import bodies, examples
from chatapp.api.authentication import Call
from chatapp.api.documentation import BEARER, PAGE, operation
from chatapp.api.pacing import RATE
from chatapp.api.parameters import Query, chat_id, idempotency_key, message_id
from chatapp.api.reading import read
from chatapp.protocol.ids import ChatId
from chatapp.protocol.views import Message
from chatapp.services.messages import Messages
from chatapp.storage.rows import MessageRow

_PATH = ("message_id",)


class MessagesController(Controller):
    """Messages. Each change reaches the sockets as an event."""

    path = "/messages"
    tags = ["messages"]  # noqa: RUF012 (Litestar's way)
    security = BEARER

    @post(
        "/",
        opt={RATE: "send"},
        summary="Send a message",
        operation_class=operation(
            takes=bodies.SendMessage,
            example={"chat_id": 7, "content": "hello"},
            gives=examples.MESSAGE,
            idempotent=True,
            repeats=True,
            refuses=(403, 409, 429),
        ),
    )
    async def send(
        self,
        request: Call,
        messages: NamedDependency[Messages],
    ) -> Response[Message]:
        """What is answered is on disk. The same ``Idempotency-Key`` again answers 200 with the first message."""
        key = idempotency_key(request)
        body = await read(request, bodies.SendMessage)
        sent = await messages.send(request.user, ChatId(body.chat_id), body.content, key)
        return Response(sent.message, status_code=200 if sent.repeated else 201)

    @get(
        "/{message_id:str}",
        summary="One message",
        operation_class=operation(path=_PATH, gives=examples.MESSAGE, refuses=(403, 404)),
    )
    async def one(self, request: Call, messages: NamedDependency[Messages]) -> Message:
        """For members of its chat."""
        return await messages.get(request.user, message_id(request))

    @get(
        "/chat/{chat_id:str}",
        summary="The messages of a chat",
        operation_class=operation(
            path=("chat_id",), query=(*PAGE, "before", "after"), gives=[examples.MESSAGE], refuses=(403,)
        ),
    )
    async def history(self, request: Call, messages: NamedDependency[Messages]) -> list[Message]:
        """For members, newest first; with ``after`` oldest first."""
        query = Query(request)
        page = query.page()
        return await messages.history(
            request.user,
            chat_id(request),
            limit=page.limit,
            offset=page.offset,
            before=query.seq("before"),
            after=query.seq("after"),
        )

    @put(
        "/{message_id:str}",
        summary="Edit a message",
        operation_class=operation(
            path=_PATH,
            takes=bodies.EditMessage,
            example={"content": "hello, all"},
            gives=examples.MESSAGE,
            refuses=(403, 404),
        ),
    )
    async def edit(self, request: Call, messages: NamedDependency[Messages]) -> Message:
        """For its sender."""
        which = message_id(request)
        body = await read(request, bodies.EditMessage)
        return _view(await messages.edit(request.user, which, body.content))

    @delete(
        "/{message_id:str}",
        summary="Delete a message",
        operation_class=operation(path=_PATH, refuses=(403, 404)),
    )
    async def remove(self, request: Call, messages: NamedDependency[Messages]) -> None:
        """For its sender, and for admins of the group. The content is erased, the place in the order stays."""
        await messages.delete(request.user, message_id(request))


def _view(row: MessageRow) -> Message:
    return Message(
        id=row.id,
        chat_id=row.chat_id,
        seq=row.seq,
        content=row.content,
        sender_id=row.sender_id,
        kind=row.kind,
        is_edited=row.is_edited,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
