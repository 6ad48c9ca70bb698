"""The REST side of a client: each call goes to a random replica and is repeated until it has a definite answer."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import TypeVar

import httpx
import msgspec

from chatapp.protocol.ids import ChatId, Seq, UserId
from chatapp.protocol.views import Chat, Message, Profile

_ATTEMPT_TIMEOUT_S = 3.0
_PAUSE_S = 0.3
_PAGE = 100
T = TypeVar("T")


class Registered(msgspec.Struct, frozen=True):
    """The answer to a registration."""

    token: str
    user: Profile


class RefusedError(Exception):
    """A definite answer of 4xx."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"{status} {body}")
        self.status = status


class Rest:
    """Calls over any of the gateways (``host:port``). Close it."""

    def __init__(
        self, gateways: Sequence[str], rng: random.Random, attempt_timeout_s: float = _ATTEMPT_TIMEOUT_S
    ) -> None:
        self._gateways = gateways
        self._rng = rng
        self._client = httpx.AsyncClient(trust_env=False, timeout=attempt_timeout_s)

    async def close(self) -> None:
        """End its connections."""
        await self._client.aclose()

    async def register(self, username: str) -> Registered:
        """A new user with a token. Not to be repeated under faults: the name may be taken by the first attempt."""
        body = {"username": username, "password": "a password for nobody"}
        return await self._call("POST", "/auth/register", Registered, body=body)

    async def make_chat(self, token: str, name: str, members: Sequence[UserId]) -> Chat:
        """A group. Not to be repeated under faults: each attempt may make one."""
        body = {"name": name, "is_group": True, "member_ids": list(members)}
        return await self._call("POST", "/chats", Chat, token=token, body=body)

    async def add_member(self, token: str, chat_id: ChatId, user_id: UserId) -> None:
        """Done for sure when it returns."""
        body = {"member_ids": [user_id]}
        await self._call("POST", f"/chats/{chat_id}/members", dict, token=token, body=body)

    async def remove_member(self, token: str, chat_id: ChatId, user_id: UserId) -> None:
        """Done for sure when it returns, by this attempt or an earlier one."""
        try:
            await self._call("DELETE", f"/chats/{chat_id}/members/{user_id}", dict, token=token)
        except RefusedError as refused:
            if refused.status != 404:
                raise

    async def history(self, token: str, chat_id: ChatId) -> list[Message]:
        """The whole chat, oldest first, page by page. Raises ``RefusedError`` for who is no member."""
        messages: list[Message] = []
        while True:
            after = messages[-1].seq if messages else Seq(0)
            path = f"/messages/chat/{chat_id}?after={after}&limit={_PAGE}"
            page = await self._call("GET", path, list[Message], token=token)
            messages += page
            if len(page) < _PAGE:
                return messages

    async def last_seq(self, token: str, chat_id: ChatId) -> Seq:
        """Where the chat stands. Raises ``RefusedError`` for who is no member."""
        return (await self._call("GET", f"/chats/{chat_id}", Chat, token=token)).last_seq

    async def _call(
        self, method: str, path: str, shape: type[T], *, token: str | None = None, body: object = None
    ) -> T:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        while True:
            url = f"http://{self._rng.choice(self._gateways)}/api/v1{path}"
            try:
                answer = await self._client.request(method, url, json=body, headers=headers)
            except httpx.TransportError:
                pass
            else:
                if answer.is_success:
                    return msgspec.json.decode(answer.content, type=shape)
                if answer.is_client_error and answer.status_code != 429:
                    raise RefusedError(answer.status_code, answer.text)
            await asyncio.sleep(self._rng.uniform(0, _PAUSE_S))
