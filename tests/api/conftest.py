from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from litestar import Litestar
from msgspec import Struct

from chatapp.api.parts import Parts, Probe
from chatapp.api.routes import build
from chatapp.auth.principal import Principal
from chatapp.errors import RateLimited
from tests.api.checks import transport
from tests.world import World, opened_world

BODY_BYTES = 100_000


class Operator:
    """What an operator, or fate, can do to the replica under test."""

    def __init__(self) -> None:
        self.draining = False
        self.latencies: dict[str, Callable[[], Awaitable[float]]] = {}
        self.exhausted: set[str] = set()
        self.spent: list[tuple[str, object]] = []

    def spend(self, kind: str, user_id: int) -> None:
        self._count(kind, user_id)

    async def register(self, address: str) -> None:
        self._count("register", address)

    @asynccontextmanager
    async def login(self, address: str, username: str) -> AsyncIterator[None]:
        self._count("login", (address, username))
        yield

    def _count(self, kind: str, who: object) -> None:
        self.spent.append((kind, who))
        if kind in self.exhausted:
            raise RateLimited(2.4)

    def probe(self, name: str) -> Callable[[], Awaitable[float]]:
        async def check() -> float:
            return await self.latencies[name]() if name in self.latencies else 0.001

        return check


class Person(Struct, frozen=True):
    """A user with a token, who asks."""

    id: int
    username: str
    principal: Principal
    client: httpx.AsyncClient


class Api:
    """The application, and people who use it."""

    def __init__(self, world: World, app: Litestar, operator: Operator) -> None:
        self.world = world
        self.app = app
        self.operator = operator
        self._clients: list[httpx.AsyncClient] = []
        self.anonymous = self.client()

    def client(self, token: str | None = None) -> httpx.AsyncClient:
        """Somebody with this token."""
        client = httpx.AsyncClient(
            transport=transport(self.app, raise_app_exceptions=False),
            base_url="http://chat.test/api/v1",
            headers={"authorization": f"Bearer {token}"} if token else {},
        )
        self._clients.append(client)
        return client

    async def somebody(self, name: str = "somebody") -> Person:
        """A new user with a token."""
        principal = await self.world.somebody(name)
        token, principal = self.world.tokens.issue(
            principal.user_id, principal.username, principal.generation, principal.session_id
        )
        return Person(principal.user_id, principal.username, principal, self.client(token))

    async def group(self, creator: Person, *others: Person) -> int:
        """A group of these people."""
        return await self.world.group(creator.principal, *(other.principal for other in others))

    async def message(self, sender: Person, chat_id: int, content: str = "hello") -> dict[str, Any]:
        """A message of theirs."""
        response = await sender.client.post("/messages", json={"chat_id": chat_id, "content": content})
        assert response.status_code == 201, response.text
        return dict(response.json())

    async def close(self) -> None:
        for client in self._clients:
            await client.aclose()


def parts_of(world: World, operator: Operator, **changes: Any) -> Parts:
    """The application's parts, with some of them changed."""

    async def metrics() -> bytes:
        return b"chatapp_connections 7.0\n"

    given: dict[str, Any] = {
        "accounts": world.accounts,
        "users": world.users,
        "chats": world.chats,
        "members": world.members,
        "messages": world.messages,
        "tokens": world.tokens,
        "revoking": world.revoking,
        "sessions": world.sessions,
        "socket_tickets": world.socket_tickets,
        "metrics": metrics,
        "probes": {
            "postgres": Probe(operator.probe("postgres")),
            "redis": Probe(operator.probe("redis"), required=False),
        },
        "draining": lambda: operator.draining,
        "rate_limits": operator,
        "body_bytes": BODY_BYTES,
    }
    return Parts(**{**given, **changes})


@pytest.fixture(scope="session")
async def world(database_url: str) -> AsyncIterator[World]:
    async with opened_world(database_url) as world:
        yield world


@pytest.fixture(scope="session")
async def api(world: World) -> AsyncIterator[Api]:
    operator = Operator()
    api = Api(world, build(parts_of(world, operator)), operator)
    yield api
    await api.close()


@pytest.fixture(autouse=True)
def everything_is_well(request: pytest.FixtureRequest) -> None:
    """For tests of the API; the others need no database and may be no coroutines."""
    if "api" in request.fixturenames:
        api: Api = request.getfixturevalue("api")
        api.world.bus.forget()
        api.operator.__init__()  # type: ignore[misc]


@pytest.fixture
async def alice(api: Api) -> Person:
    return await api.somebody("alice")


@pytest.fixture
async def bob(api: Api) -> Person:
    return await api.somebody("bob")


@pytest.fixture
async def carol(api: Api) -> Person:
    return await api.somebody("carol")
