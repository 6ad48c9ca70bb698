"""Reading over REST what is too much for a replay."""

from __future__ import annotations

import asyncio
import random

from msgspec import Struct

from chatapp.client.chats import Chats
from chatapp.client.errors import ClientError
from chatapp.client.events import Resynced, SessionEvent
from chatapp.client.following import Following
from chatapp.client.inbox import Inbox
from chatapp.client.messages import PAGE, Messages
from chatapp.protocol.events import MessagePayload, MessageSent, System, SystemPayload
from chatapp.protocol.ids import ChatId
from chatapp.protocol.views import Message

_PAUSE_S = 2.0


class Catching(Struct, frozen=True):
    """The pages of a chat after its position, oldest first, told as if they had been replayed."""

    chats: Chats
    messages: Messages

    async def read(self, chat_id: ChatId, following: Following, inbox: Inbox) -> None:
        """Read up to where the chat stands now. Where that fails, what was read counts, and the rest is for later."""
        start = following.reading_from(chat_id)
        if start is None:
            return
        try:
            # First: what changes from now on has a higher position, and so is replayed afterwards.
            upto = (await self.chats.get(chat_id)).last_seq
            if upto >= start:
                await self._pages(chat_id, following, inbox, upto)
        except ClientError:
            await asyncio.sleep(random.uniform(0.0, _PAUSE_S))  # noqa: S311 (jitter)
            return
        following.read(chat_id, upto)
        inbox.put(Resynced(chat_id, start, upto))

    async def _pages(self, chat_id: ChatId, following: Following, inbox: Inbox, upto: int) -> None:
        while (after := following.reading_from(chat_id)) is not None and after < upto:
            page = await self.messages.page(chat_id, after=after, limit=PAGE)
            for message in page:
                if message.seq > upto:
                    return
                await inbox.room()
                inbox.put(_event(message))
                following.count(chat_id)
                following.read(chat_id, message.seq)
            if len(page) < PAGE:
                return


def _event(message: Message) -> SessionEvent:
    if message.kind == "system":
        return System(SystemPayload(message.chat_id, message.content, message.seq))
    sender = message.sender
    return MessageSent(
        MessagePayload(
            message_id=message.id,
            content=message.content,
            sender_id=message.sender_id,
            username=sender.username if sender is not None else "",
            chat_id=message.chat_id,
            timestamp=message.created_at,
            seq=message.seq,
            kind=message.kind,
        )
    )
