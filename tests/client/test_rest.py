"""One call over REST: what is repeated, what is not, and what is told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import httpx
import pytest

from chatapp.client.addresses import Addresses, socket_url
from chatapp.client.errors import BadAnswer, Conflict, Invalid, RateLimited, Unauthenticated, Unavailable, Unreachable
from chatapp.client.rest import Rest

ONE, TWO = "http://one:1", "http://two:2"
Answer = httpx.Response | Exception


class Service:
    """Answers with what it is given, in turn."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def hosts(self) -> Sequence[str]:
        return [request.url.host for request in self.asked]


@asynccontextmanager
async def rest_of(service: Callable[[httpx.Request], httpx.Response], patience_s: float = 5.0) -> AsyncIterator[Rest]:
    async with httpx.AsyncClient(transport=httpx.MockTransport(service)) as http:
        yield Rest(Addresses((ONE, TWO)), http, patience_s)


def said(status: int, code: str = "code", **headers: str) -> httpx.Response:
    return httpx.Response(status, json={"error": "a sentence", "code": code}, headers=headers)


async def test_another_address_is_tried_when_one_does_not_answer() -> None:
    service = Service(httpx.ConnectError("refused"), httpx.Response(200, content=b"1"))
    async with rest_of(service) as rest:
        assert await rest.get("/x", int) == 1
    assert service.hosts == ["one", "two"]


async def test_what_may_have_been_done_is_repeated_only_where_that_does_no_harm() -> None:
    service = Service(httpx.ReadError("gone"), httpx.Response(200, content=b"1"))
    async with rest_of(service) as rest:
        assert await rest.ask("POST", "/x", key="k") == b"1"
    assert [request.headers["Idempotency-Key"] for request in service.asked] == ["k", "k"]
    for answer, error in ((httpx.ReadError("gone"), Unreachable), (said(503, "unavailable"), Unavailable)):
        service = Service(answer)
        async with rest_of(service) as rest:
            with pytest.raises(error):
                await rest.ask("POST", "/x", safe=False)


async def test_what_was_not_done_is_repeated_after_what_the_service_says() -> None:
    service = Service(said(429, "rate_limited", **{"Retry-After": "0"}), said(503, "overloaded"), httpx.Response(204))
    async with rest_of(service) as rest:
        assert await rest.ask("POST", "/x", safe=False) == b""


async def test_no_attempt_is_made_beyond_ones_patience() -> None:
    service = Service(said(429, "rate_limited", **{"Retry-After": "60"}))
    async with rest_of(service) as rest:
        with pytest.raises(RateLimited) as told:
            await rest.ask("GET", "/x")
    assert (told.value.status, told.value.code, told.value.retry_after_s) == (429, "rate_limited", 60)


async def test_a_deletion_whose_answer_was_lost_is_done_when_there_is_nothing_left() -> None:
    async with rest_of(Service(httpx.ReadError("gone"), said(404))) as rest:
        assert await rest.ask("DELETE", "/x") == b""


async def test_what_is_refused_says_why() -> None:
    fields = {"error": "validation failed", "code": "validation_failed", "messages": [{"field": "name", "tag": "min"}]}
    for answer, error in (
        (httpx.Response(400, json=fields), Invalid),
        (said(409), Conflict),
        (httpx.Response(500, content=b"<html>"), Unavailable),
    ):
        async with rest_of(Service(answer)) as rest:
            with pytest.raises(error) as told:
                await rest.ask("GET", "/x")
            assert told.value.status == answer.status_code
    async with rest_of(Service(httpx.Response(200, content=b"<html>"))) as rest:
        with pytest.raises(BadAnswer):
            await rest.get("/x", int)


async def test_a_refused_token_is_renewed_once() -> None:
    service = Service(said(401), httpx.Response(200, content=b"1"), said(401), said(401))

    async def renew(refused: str) -> bool:
        rest.token = f"{refused}+"
        return True

    async with rest_of(service) as rest:
        rest.token, rest.renew = "t", renew
        assert await rest.get("/x", int) == 1
        with pytest.raises(Unauthenticated):
            await rest.get("/x", int)
    assert [request.headers["Authorization"] for request in service.asked] == [
        "Bearer t",
        "Bearer t+",
        "Bearer t+",
        "Bearer t++",
    ]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:8080",
        "ftp://here",
        "http://",
        "http://[",
        "http://:80",
        "http://localhost:0",
        "http://localhost:99999",
        "http://localhost:x",
        "http://1.2.3.999",
        "http://xn--a",
    ],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="is no address"):
        Addresses((url,))


def test_the_socket_is_beside_the_rest() -> None:
    addresses = Addresses(("https://chat.example.org/base/", ONE))
    assert socket_url(addresses.current, "follow=none") == "wss://chat.example.org/base/ws?follow=none"
    addresses.turn()
    assert socket_url(addresses.current, "") == "ws://one:1/ws"
