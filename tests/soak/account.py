"""Users from addresses of their own: a replica believes the ``X-Forwarded-For`` of its own host."""

from __future__ import annotations

import random
from collections.abc import Mapping

import httpx
from msgspec import Struct
from websockets.asyncio.client import connect

PASSWORD = "correct horse battery"
_TIMEOUT_S = 20.0


class Account(Struct):
    """A user, with the token of the last login."""

    name: str
    user_id: int
    token: str
    address: str

    @property
    def headers(self) -> dict[str, str]:
        """As the load balancer would pass them on."""
        return {"Authorization": f"Bearer {self.token}", "X-Forwarded-For": self.address}


def address(rng: random.Random) -> str:
    """One of 16 million of a network that nobody has."""
    return f"10.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(1, 255)}"


def rest(port: int) -> httpx.AsyncClient:
    """A client of one replica; close it."""
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}/api/v1", trust_env=False, timeout=_TIMEOUT_S)


async def register(client: httpx.AsyncClient, name: str, rng: random.Random) -> Account:
    """A new user. Raises ``httpx.HTTPStatusError`` where it is refused."""
    where = address(rng)
    body = {"username": name, "password": PASSWORD}
    answer = await client.post("/auth/register", json=body, headers={"X-Forwarded-For": where})
    found = answer.raise_for_status().json()
    return Account(name, found["user"]["id"], found["token"], where)


async def make_chat(client: httpx.AsyncClient, owner: Account, *others: Account) -> int:
    """A group of these. Raises ``httpx.HTTPStatusError``."""
    body = {"name": f"of {owner.name}", "is_group": True, "member_ids": [other.user_id for other in (owner, *others)]}
    answer = await client.post("/chats", json=body, headers=owner.headers)
    return int(answer.raise_for_status().json()["id"])


def socket(port: int, account: Account, query: str = "", headers: Mapping[str, str] | None = None) -> connect:
    """A connection, to be entered. It answers pings and is closed in good order."""
    return connect(
        f"ws://127.0.0.1:{port}/ws{query}",
        additional_headers=account.headers | dict(headers or {}),
        compression=None,
        proxy=None,
        open_timeout=_TIMEOUT_S,
        close_timeout=1.0,
        ping_interval=20.0,
        ping_timeout=_TIMEOUT_S,
    )
