"""People who come and go: they register, log in, talk, vanish, resume, make and leave chats, log out, and delete."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Sequence

import httpx
import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import WebSocketException

from tests.soak.account import PASSWORD, Account, make_chat, register, rest, socket

_PEOPLE = 12
_PAUSE_S = 1.0
_ANSWER_S = 20.0
_BUSY = (429, 503)
"""Statuses that a well-behaved client may be given under an attack; it comes back later."""


class Churn:
    """``run`` is its task. ``done`` counts what was done, ``wrong`` what should not have happened."""

    def __init__(self, ports: Sequence[int], rng: random.Random) -> None:
        self.done: Counter[str] = Counter()
        self.wrong: Counter[str] = Counter()
        self._ports = ports
        self._rng = rng
        self._numbers = itertools.count(1)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(_PEOPLE):
                group.create_task(self._one())

    async def _one(self) -> None:
        account: Account | None = None
        while True:
            async with rest(self._rng.choice(self._ports)) as client:
                try:
                    async with asyncio.timeout(120):
                        account = await self._visit(client, account)
                except httpx.HTTPStatusError as error:
                    if error.response.status_code in _BUSY:
                        self.done[f"told {error.response.status_code}"] += 1
                    else:
                        self.wrong[f"{error.request.url.path} {error.response.status_code}"] += 1
                        account = None
                except (httpx.HTTPError, OSError, TimeoutError, WebSocketException) as error:
                    self.wrong[type(error).__name__] += 1
            await asyncio.sleep(self._rng.uniform(0.5, 1.5) * _PAUSE_S)

    async def _visit(self, client: httpx.AsyncClient, account: Account | None) -> Account | None:
        if account is None:
            account = await register(client, f"churn{next(self._numbers)}x{self._rng.randrange(10**6)}", self._rng)
            self.done["registered"] += 1
        elif not account.token:
            body = {"username": account.name, "password": PASSWORD}
            answer = await client.post("/auth/login", json=body, headers={"X-Forwarded-For": account.address})
            account.token = answer.raise_for_status().json()["token"]
            self.done["logged in"] += 1
        chat_id = await make_chat(client, account)
        self.done["chats"] += 1
        position = await self._talk(account, chat_id, 0, vanish=True)
        await self._talk(account, chat_id, position, vanish=False)
        # The only member who leaves takes the chat's last member away; else the creator deletes it.
        leave = self._rng.random() < 0.5
        path = f"/chats/{chat_id}/members/{account.user_id}" if leave else f"/chats/{chat_id}"
        (await client.delete(path, headers=account.headers)).raise_for_status()
        self.done["left" if leave else "deleted"] += 1
        if self._rng.random() < 0.1:
            (await client.delete(f"/users/{account.user_id}", headers=account.headers)).raise_for_status()
            self.done["accounts deleted"] += 1
            return None
        if self._rng.random() < 0.3:
            (await client.post("/auth/logout", headers=account.headers)).raise_for_status()
            self.done["logged out"] += 1
            account.token = ""
        return account

    async def _talk(self, account: Account, chat_id: int, after: int, *, vanish: bool) -> int:
        """Join after a position, send, edit and delete; return the position then."""
        async with socket(self._rng.choice(self._ports), account, "?follow=none") as connection:
            joined = await self._ask(connection, "join_chat", {"chat_id": chat_id, "after_seq": after})
            position = max(after, joined.get("seq", 0))
            for number in range(self._rng.randrange(1, 6)):
                content = f"{number} {'x' * self._rng.randrange(200)}"
                sent = await self._ask(connection, "message", {"chat_id": chat_id, "content": content})
                position = sent["seq"]
                if number % 2:
                    await self._ask(connection, "edit_message", {"message_id": sent["message_id"], "content": "new"})
                    self.done["edits"] += 1
                await asyncio.sleep(self._rng.uniform(0, 0.3))
            self.done["talked"] += 1
            if vanish:
                connection.transport.abort()
        return int(position)

    async def _ask(self, connection: ClientConnection, command: str, payload: dict[str, int | str]) -> dict[str, int]:
        ref = next(self._numbers)
        await connection.send(msgspec.json.encode({"type": command, "payload": payload, "id": ref}), text=True)
        async with asyncio.timeout(_ANSWER_S):
            while True:
                event = msgspec.json.decode(await connection.recv())
                if event.get("id") == ref:
                    break
        if event["type"] == "error":
            self.wrong[f"{command} {event['payload']['code']}"] += 1
            raise TimeoutError(event["payload"]["error"])
        answer: dict[str, int] = event["payload"]
        return answer
