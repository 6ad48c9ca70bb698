"""What each command does: the table from a command to the service that carries it out."""

from __future__ import annotations

from functools import partial
from typing import assert_never

from chatapp.errors import ChatAppError, Unavailable
from chatapp.gateway.connection import Connection
from chatapp.gateway.following import Following
from chatapp.gateway.presence import Presence
from chatapp.gateway.stats import GatewayStats
from chatapp.protocol.commands import (
    AskPresence,
    Command,
    DeleteMessage,
    EditMessage,
    JoinChat,
    LeaveChat,
    MarkRead,
    Ping,
    Resume,
    SendMessage,
    TypingNow,
    type_of,
)
from chatapp.protocol.events import AckPayload
from chatapp.protocol.ids import ChatId, MessageId, Seq, UserId
from chatapp.services.chats import Chats
from chatapp.services.messages import Messages
from chatapp.services.signals import Signals
from chatapp.storage.writer import Answer, Appended
from chatapp.tracing import spans
from chatapp.tracing.port import Span, Tracer
from chatapp.tracing.work import doing


class Commands:
    """Stateless but for what it counts; raises ``ChatAppError`` for what is refused."""

    def __init__(
        self,
        messages: Messages,
        chats: Chats,
        signals: Signals,
        following: Following,
        tracer: Tracer | None = None,
        presence: Presence | None = None,
    ) -> None:
        """``presence``: None where it is switched off."""
        self._tracer = tracer
        self._messages = messages
        self._chats = chats
        self._signals = signals
        self._following = following
        self.stats = GatewayStats()
        self._presence = presence

    def submit(self, connection: Connection, command: SendMessage, answer: Answer) -> None:
        """Hand a message to the writer; see ``Messages.submit``."""
        asked = command.payload
        span = None if self._tracer is None else self._begin(self._tracer, connection, command)
        if span is not None:
            answer = partial(_end_and_answer, span, answer)
        try:
            self._messages.submit(connection.principal, ChatId(asked.chat_id), asked.content, asked.nonce, answer, span)
        except ChatAppError as error:
            if span is not None:
                span.end(error.code_word)
            raise

    async def perform(self, connection: Connection, command: Command) -> None:
        """Carry out any other command and answer it."""
        span = None if self._tracer is None else self._begin(self._tracer, connection, command)
        if span is None:
            await self._perform(connection, command)
            return
        failure: str | None = "cancelled"
        try:
            with doing({"trace_id": span.trace_id}, span):
                await self._perform(connection, command)
            failure = None
        except ChatAppError as error:
            failure = error.code_word
            raise
        except Exception:
            failure = "internal"
            raise
        finally:
            span.end(failure)

    def _begin(self, tracer: Tracer, connection: Connection, command: Command) -> Span | None:
        return spans.command(tracer, type_of(command), connection.connection_id, connection.user_id)

    async def _perform(self, connection: Connection, command: Command) -> None:
        actor = connection.principal
        match command:
            case JoinChat(asked):
                chat_id = ChatId(asked.chat_id)
                after = None if asked.after_seq is None else Seq(asked.after_seq)
                position = await self._following.join(connection, chat_id, after)
                connection.ack(command, AckPayload("join_chat", chat_id, seq=position))
                if connection.follows_all is False or after is None:
                    self._signals.came(actor, chat_id)
            case Resume():
                await self._following.resume(connection, command)
            case LeaveChat(asked):
                chat_id = ChatId(asked.chat_id)
                if self._following.leave(connection, chat_id):
                    self._signals.went(actor, chat_id)
                connection.ack(command, AckPayload("leave_chat", chat_id))
            case EditMessage(asked):
                row = await self._messages.edit(actor, MessageId(asked.message_id), asked.content)
                connection.ack(
                    command,
                    AckPayload("edit_message", row.chat_id, row.id, row.changed_seq, row.updated_at),
                )
            case DeleteMessage(asked):
                row = await self._messages.delete(actor, MessageId(asked.message_id))
                connection.ack(
                    command,
                    AckPayload("delete_message", row.chat_id, row.id, row.changed_seq, row.updated_at),
                )
            case TypingNow(asked):
                chat_id = ChatId(asked.chat_id)
                await self._following.check_member(connection, chat_id)
                self._signals.typing(actor, chat_id)
            case MarkRead(asked):
                chat_id = ChatId(asked.chat_id)
                seq = await self._chats.mark_read(actor, chat_id, Seq(asked.seq))
                connection.ack(command, AckPayload("read", chat_id, seq=seq))
            case AskPresence(asked):
                if self._presence is None:
                    raise Unavailable("presence is switched off")
                await self._presence.ask(connection, {UserId(user_id) for user_id in asked.user_ids})
                connection.ack(command, AckPayload("presence"))
            case SendMessage() | Ping():
                raise AssertionError("answered without waiting")
            case _:
                assert_never(command)


def _end_and_answer(span: Span, answer: Answer, outcome: Appended | ChatAppError) -> None:
    answer(outcome)
    span.end(outcome.code_word if isinstance(outcome, ChatAppError) else None)
