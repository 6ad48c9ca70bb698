"""A bot on the product's own client: it greets who writes to it, and answers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from datetime import datetime

from chatapp.client import CaughtUp, Client, MessageSent, NewChat, Refused, Session
from chatapp.demo.answers import GREETING, answer, is_addressed
from chatapp.demo.people import Person
from chatapp.protocol.events import MessagePayload
from chatapp.protocol.ids import ChatId

_TYPING_S = 0.6
"""As long as it seems to write."""


async def run_bot(me: Person, urls: Sequence[str], listening: asyncio.Event) -> None:
    """Answer until cancelled, over whichever of the replicas there is: what is said once ``listening`` is set."""
    async with Client(*urls, trust_env=False) as client:
        await client.login(me.username, me.password, remember=True)
        await _Bot(client, me).run(listening)


class _Bot:
    def __init__(self, client: Client, me: Person) -> None:
        self._client = client
        self._me = me
        self._is_group: dict[ChatId, bool] = {}
        self._rng = random.Random()  # noqa: S311 (coins of no value)

    async def run(self, listening: asyncio.Event) -> None:
        async with self._client.session() as session:
            async for event in session:
                try:
                    match event:
                        case CaughtUp():
                            listening.set()
                        case NewChat(payload=chat):
                            self._is_group[chat.id] = chat.is_group
                            # A nonce of the chat's own: told twice of it, it greets once.
                            await session.send(chat.id, GREETING, nonce=f"hello {chat.id}")
                        case MessageSent(payload=message) if await self._is_for_me(message):
                            await self._answer(session, message)
                        case _:
                            pass
                except Refused:
                    pass  # removed from the chat meanwhile, or the chat is gone

    async def _is_for_me(self, message: MessagePayload) -> bool:
        if message.kind != "text" or message.sender_id in (None, self._me.user_id):
            return False
        if message.chat_id not in self._is_group:
            self._is_group[message.chat_id] = (await self._client.chats.get(message.chat_id)).is_group
        return not self._is_group[message.chat_id] or is_addressed(message.content, self._me.username)

    async def _answer(self, session: Session, message: MessagePayload) -> None:
        session.typing(message.chat_id)
        await asyncio.sleep(_TYPING_S)
        text = answer(message.content, datetime.now().astimezone(), self._rng)
        await session.send(message.chat_id, text, nonce=f"answer {message.message_id}")
