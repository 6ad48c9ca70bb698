"""The product's own client in Python in a run, in the place of ``Client``: what it hands out and acks is recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from chatapp import client as sdk
from chatapp.protocol.events import AckPayload
from chatapp.protocol.ids import ChatId, MessageId, Seq, UserId
from tests.chaos.history import ClientHistory
from tests.chaos.recorded import Hearing, Sending
from tests.chaos.sender import ANSWER_TIMEOUT_S

_TIMING = sdk.Timing(
    open_s=2.0,
    answer_s=ANSWER_TIMEOUT_S,
    silence_s=1.0,
    pong_s=1.0,
    stalled_s=4.0,
    settled_s=1.0,
    backoff_start_s=0.1,
    backoff_cap_s=1.0,
    restart_spread_s=1.0,
    tick_s=0.1,
)
_EVENTS = 50
"""Few, so that a burst does not fit and is fetched again."""


class _Device:
    def __init__(self, session: sdk.Session) -> None:
        self._session = session

    async def send(self, chat_id: ChatId, content: str, nonce: str) -> AckPayload:
        return await self._session.send(chat_id, content, nonce=nonce)

    async def change(self, message_id: MessageId, content: str | None) -> None:
        if content is None:
            await self._session.delete(message_id, within_s=ANSWER_TIMEOUT_S)
        else:
            await self._session.edit(message_id, content, within_s=ANSWER_TIMEOUT_S)


class SdkClient:
    """One user's device, as ``Client`` is."""

    def __init__(
        self, name: str, user_id: UserId, token: str, gateways: Sequence[str], chats: Sequence[ChatId], seed: int
    ) -> None:
        self.history = ClientHistory(name, user_id)
        self.token = token
        self.unexpected: dict[str, int] = {}
        first = seed % len(gateways)
        self._urls = [f"http://{gateway}" for gateway in (*gateways[first:], *gateways[:first])]
        self._replicas = [f"http://{gateway}" for gateway in gateways]
        self._client = sdk.Client(*self._urls, token=token, trust_env=False, timeout_s=3.0)
        start = sdk.Bookmark(positions=dict.fromkeys(chats, Seq(0)))
        self._session = self._client.session(bookmark=start, events=_EVENTS, timing=_TIMING)
        self.follower = Hearing(self.history, chats)
        self.sender = Sending(self.history, _Device(self._session))

    async def run(self) -> None:
        async with self._client, self._session:
            async for event in self._session:
                self.follower.on_event(event, self._replicas)
                await asyncio.sleep(0)
