"""Signals: what is told to a chat's followers and kept nowhere. That the actor is a member is the caller's to know."""

from __future__ import annotations

from chatapp.auth.principal import Principal
from chatapp.protocol.envelope import Envelope, Kind
from chatapp.protocol.events import System, SystemPayload, Typing, TypingPayload, encode_event
from chatapp.protocol.ids import ChatId, Seq
from chatapp.services.publisher import Publisher


class Signals:
    """All of them may be lost, and none is told to the actor's own connections."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    def typing(self, actor: Principal, chat_id: ChatId) -> None:
        """The actor is writing."""
        self._tell(actor, chat_id, encode_event(Typing(TypingPayload(chat_id, actor.user_id))))

    def came(self, actor: Principal, chat_id: ChatId) -> None:
        """A connection of the actor opened the chat."""
        self._say(actor, chat_id, f"{actor.username} joined the chat")

    def went(self, actor: Principal, chat_id: ChatId) -> None:
        """A connection of the actor closed the chat."""
        self._say(actor, chat_id, f"{actor.username} left the chat")

    def _say(self, actor: Principal, chat_id: ChatId, sentence: str) -> None:
        self._tell(actor, chat_id, encode_event(System(SystemPayload(chat_id, sentence))))

    def _tell(self, actor: Principal, chat_id: ChatId, frame: bytes) -> None:
        self._publisher.in_chats([Envelope(Kind.PASSING, chat_id, Seq(0), (frame,), actor.user_id)])
