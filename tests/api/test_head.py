"""HEAD, as it is served: around the whole application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from chatapp.api.head import Head
from chatapp.api.routes import build
from chatapp.api.web import DIRECTORY, web_handlers
from tests.api.conftest import Api, Operator, Person, parts_of


@pytest.fixture
async def client(api: Api) -> AsyncIterator[httpx.AsyncClient]:
    asgi: Any = Head(build(parts_of(api.world, Operator(), handlers=web_handlers())))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(asgi), base_url="http://chat.test") as client:
        yield client


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/health", 200),
        ("/api/v1/health/live", 200),
        ("/api/v1/users", 200),
        ("/api/v1/users/4611686018427387904", 404),
        ("/api/v1/users/x", 400),
        ("/nowhere", 404),
        ("/", 200),
    ],
)
async def test_head_is_the_head_of_the_answer_to_get(
    client: httpx.AsyncClient, alice: Person, path: str, status: int
) -> None:
    headers = {"Authorization": alice.client.headers["authorization"]}
    got, head = await client.get(path, headers=headers), await client.head(path, headers=headers)
    assert got.status_code == head.status_code == status
    assert (bool(got.content), head.content) == (True, b"")
    assert head.headers["content-type"] == got.headers["content-type"]
    assert head.headers["content-length"] == got.headers["content-length"]


async def test_where_get_is_not_head_is_not(client: httpx.AsyncClient) -> None:
    refused = await client.head("/api/v1/auth/login")
    assert (refused.status_code, refused.headers["allow"]) == (405, "OPTIONS, POST")


async def test_who_is_nobody_sees_no_head_of_what_is_protected(client: httpx.AsyncClient) -> None:
    assert (await client.head("/api/v1/auth/me")).status_code == 401


async def test_the_page_is_as_long_as_it_is(client: httpx.AsyncClient) -> None:
    head = await client.head("/", headers={"accept-encoding": "identity"})
    assert head.headers["content-length"] == str(len((DIRECTORY / "index.html").read_bytes()))
