"""What each command does: the table from a command to the service that carries it out."""

from __future__ import annotations

from typing import assert_never

from chatapp.gateway.connection import Connection
from chatapp.gateway.following import Following
from chatapp.protocol.commands import (
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
)
from chatapp.protocol.events import AckPayload
from chatapp.protocol.ids import ChatId, MessageId, Seq
from chatapp.services.chats import Chats
from chatapp.services.messages import Messages
from chatapp.services.signals import Signals
from chatapp.storage.writer import Answer


class Commands:
    """Stateless; raises ``ChatAppError`` for what is refused."""

    def __init__(self, messages: Messages, chats: Chats, signals: Signals, following: Following) -> None:
        self._messages = messages
        self._chats = chats
        self._signals = signals
        self._following = following

    def submit(self, connection: Connection, command: SendMessage, answer: Answer) -> None:
        """Hand a message to the writer; see ``Messages.submit``."""
        asked = command.payload
        self._messages.submit(connection.principal, ChatId(asked.chat_id), asked.content, asked.nonce, answer)

    async def perform(self, connection: Connection, command: Command) -> None:
        """Carry out any other command and answer it."""
        actor = connection.principal
        match command:
            case JoinChat(asked):
                chat_id = ChatId(asked.chat_id)
                after = None if asked.after_seq is None else Seq(asked.after_seq)
                position = await self._following.join(connection, chat_id, after)
                connection.ack(command, AckPayload("join_chat", chat_id, seq=position))
                if connection.follows_all is False or after is None:
                    self._signals.came(actor, chat_id)
            case Resume(asked):
                for chat, seq in asked.positions.items():
                    await self._following.resume(connection, ChatId(chat), Seq(seq), command)
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
            case SendMessage() | Ping():
                raise AssertionError("answered without waiting")
            case _:
                assert_never(command)
