"""Commands that wait for their answer."""

from __future__ import annotations

import asyncio

from msgspec import Struct, field

from chatapp.protocol.ids import ChatId, MessageId, Seq


class Sent(Struct, frozen=True):
    """A message that was acked."""

    chat_id: ChatId
    message_id: MessageId
    seq: Seq


class Refusal(Struct, frozen=True):
    """A command that will not be done."""

    code: str


class Outstanding(Struct):
    """A message on its way. It keeps its nonce through every retry, until ``answer`` is there."""

    chat_id: ChatId
    nonce: str
    content: str
    answer: asyncio.Future[Sent | Refusal]
    attempts: int = 0
    due: float = 0.0
    """When to try (again)."""


class Change(Struct):
    """An edit or a deletion on its way, on one connection only: it is not repeated."""

    ref: str
    answer: asyncio.Future[bool]


class ChatState(Struct):
    """One chat, as the client has it."""

    position: Seq = Seq(0)
    """Everything up to here was heard."""
    connection: int = 0
    """On which it is followed (or being joined)."""
    live: bool = False
    """The join was acked."""
    due: float = 0.0
    """When to try to join (again)."""
    reread: asyncio.Task[None] | None = field(default=None)
