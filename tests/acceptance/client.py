"""What a client does, over REST and over sockets, and what it must be told."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import httpx
from msgspec import Struct
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.acceptance.replicas import ReplicaProcess

ANSWER_S = 10.0
PASSWORD = "correct horse"
Frame = dict[str, Any]


class Account(Struct, frozen=True):
    """Somebody who is logged in."""

    user_id: int
    username: str
    token: str


_RETURNS = 5
"""How often a busy machine may send a reader away."""


class Rest:
    """The REST interface of one replica."""

    def __init__(self, replica: ReplicaProcess) -> None:
        self._client = httpx.AsyncClient(
            base_url=f"{replica.url}/api/v1", trust_env=False, verify=False, timeout=ANSWER_S
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def ask(self, method: str, path: str, account: Account | None = None, **request: Any) -> httpx.Response:
        """Any request, whatever comes of it."""
        headers = dict(request.pop("headers", {}))
        if account is not None:
            headers["Authorization"] = f"Bearer {account.token}"
        return await self._client.request(method, path, headers=headers, **request)

    async def do(self, method: str, path: str, account: Account | None = None, **request: Any) -> Any:
        """A request that must succeed, and its answer. What only reads comes back after a 503, as it is told to."""
        response = await self.ask(method, path, account, **request)
        for _ in range(_RETURNS if method == "GET" else 0):
            if response.status_code != 503:
                break
            await asyncio.sleep(float(response.headers["Retry-After"]))
            response = await self.ask(method, path, account, **request)
        assert response.is_success, f"{method} {path}: {response.status_code} {response.text}"
        return response.json() if response.content else None

    async def register(self, name: str = "somebody") -> Account:
        """A new user, with a name of their own that begins with ``name``."""
        body = {"username": f"{name}-{secrets.token_hex(6)}", "password": PASSWORD}
        return _account(await self.do("POST", "/auth/register", json=body))

    async def login(self, account: Account) -> Account:
        """Another token of the same user."""
        return _account(await self.do("POST", "/auth/login", json={"username": account.username, "password": PASSWORD}))

    async def group(self, creator: Account, *others: Account, name: str = "climbing") -> int:
        """A group of these people."""
        body = {"name": name, "is_group": True, "member_ids": [other.user_id for other in others or (creator,)]}
        return int((await self.do("POST", "/chats", creator, json=body))["id"])

    async def send(self, sender: Account, chat_id: int, content: str, key: str | None = None) -> Frame:
        """A message over REST, and the answer."""
        message: Frame = await self.do(
            "POST",
            "/messages",
            sender,
            json={"chat_id": chat_id, "content": content},
            headers={"Idempotency-Key": key} if key else {},
        )
        return message

    async def history(self, reader: Account, chat_id: int, page: int = 100) -> list[Frame]:
        """All messages of a chat, oldest first, page by page."""
        messages: list[Frame] = []
        while True:
            after = messages[-1]["seq"] if messages else 0
            path = f"/messages/chat/{chat_id}?after={after}&limit={page}"
            more = await self.do("GET", path, reader)
            messages += more
            if len(more) < page:
                return messages


class Socket:
    """One connection, after its ``ready``."""

    def __init__(self, connection: ClientConnection, ready: Frame) -> None:
        self.connection = connection
        self.ready = ready

    async def tell(self, kind: str, payload: Frame, ref: str | None = None) -> None:
        """A command."""
        frame: Frame = {"type": kind, "payload": payload}
        if ref is not None:
            frame["id"] = ref
        await self.connection.send(json.dumps(frame))

    async def hear(self) -> Frame:
        """The next event."""
        async with asyncio.timeout(ANSWER_S):
            frame: Frame = json.loads(await self.connection.recv())
        return frame

    async def expect(self, kind: str, fits: Callable[[Frame], bool] = lambda payload: True) -> Frame:
        """Listen for such an event, past all others, and return its payload."""
        async with asyncio.timeout(ANSWER_S):
            while True:
                event = await self.hear()
                if event["type"] == kind and fits(event["payload"]):
                    payload: Frame = event["payload"]
                    return payload

    async def join(self, chat_id: int, after_seq: int | None = None) -> list[Frame]:
        """Follow a chat; what is replayed before it is acked."""
        payload = {"chat_id": chat_id} | ({} if after_seq is None else {"after_seq": after_seq})
        await self.tell("join_chat", payload, "join")
        replayed: list[Frame] = []
        while (event := await self.hear()).get("id") != "join":
            replayed.append(event)
        assert event["type"] == "ack", event
        return replayed

    async def closed_with(self) -> int:
        """Wait for the close and return its code."""
        async with asyncio.timeout(ANSWER_S):
            with suppress(ConnectionClosed):
                while True:
                    await self.connection.recv()
        code = self.connection.close_code
        assert code is not None
        return code


@asynccontextmanager
async def socket(replica: ReplicaProcess, account: Account, query: str = "", **options: Any) -> AsyncIterator[Socket]:
    """An open connection; ``query`` such as ``follow=none``."""
    options.setdefault("additional_headers", {"Authorization": f"Bearer {account.token}"})
    async with connect(
        f"{replica.sockets_url}?{query}", proxy=None, compression=None, close_timeout=1, max_queue=None, **options
    ) as connection:
        async with asyncio.timeout(ANSWER_S):
            ready = json.loads(await connection.recv())
        assert ready["type"] == "ready", ready
        yield Socket(connection, ready["payload"])


@asynccontextmanager
async def rests(*asked: ReplicaProcess) -> AsyncIterator[list[Rest]]:
    """Clients of these replicas."""
    async with AsyncExitStack() as opened:
        made = [Rest(replica) for replica in asked]
        for rest in made:
            opened.push_async_callback(rest.close)
        yield made


def _account(answer: Frame) -> Account:
    return Account(answer["user"]["id"], answer["user"]["username"], answer["token"])
