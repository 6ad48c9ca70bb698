"""The log of what admins and operators do: noted in the transaction of the act, so that there is never one alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from sqlalchemy.ext.asyncio import AsyncConnection

from chatapp.auth.principal import Principal
from chatapp.protocol.ids import ChatId, MessageId, UserId
from chatapp.storage import audit as statements
from chatapp.storage.audit import ActionName, Actor, Details

# The request that is being answered: every act's, without each service having to pass it on. Empty outside of one.
_request_id: ContextVar[str] = ContextVar("chatapp_request_id", default="")

_NO_DETAILS = Details()


@contextmanager
def within_request(request_id: str) -> Iterator[None]:
    """What is noted in this block belongs to the request of this id."""
    token = _request_id.set(request_id)
    try:
        yield
    finally:
        _request_id.reset(token)


async def note(
    connection: AsyncConnection,
    actor: Principal | Actor,
    action: ActionName,
    target: str,
    details: Details = _NO_DETAILS,
) -> None:
    """Note an act, as part of its transaction. ``target``: see ``chat``, ``user``, ``message`` below."""
    if isinstance(actor, Principal):
        actor = Actor("user", actor.username, actor.user_id)
    await statements.write(connection, actor, action, target, details, _request_id.get())


def chat(chat_id: ChatId) -> str:
    """A chat as the target of an act."""
    return f"chat:{chat_id}"


def user(user_id: UserId) -> str:
    """A user as the target of an act."""
    return f"user:{user_id}"


def message(message_id: MessageId) -> str:
    """A message as the target of an act."""
    return f"message:{message_id}"
