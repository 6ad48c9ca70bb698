"""What happens to sockets that come too often, too fast, or all at once."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from chatapp.app.limits import trusted_hosts
from chatapp.gateway.session import LIMITED_BEFORE_CLOSE
from tests.gateway.conftest import StartNode
from tests.gateway.replicas import PROTOCOLS, Client, Node, User, serving


async def test_sending_too_fast_is_refused_with_the_time_to_wait(start_node: StartNode) -> None:
    async with start_node(rate_limits__send="5/hour") as node:
        user = await node.somebody()
        chat_id = await node.group(user)
        one, two = await node.connect(user), await node.connect(user)
        for number in range(5):
            await (one, two)[number % 2].send(chat_id, "hello")
        for client in (one, two):
            answer = await client.ask("message", {"chat_id": chat_id, "content": "hello"})
            assert (answer["type"], answer["payload"]["code"]) == ("error", "rate_limited")
            assert 0 < answer["payload"]["retry_after"] <= 7200
        assert (await one.ask("ping"))["type"] == "pong"
        assert node.replica.rate_limiter is not None
        assert node.replica.rate_limiter.refusals.send == 2


async def test_frames_that_are_no_commands_count_too(start_node: StartNode) -> None:
    async with start_node(rate_limits__command="5/hour") as node:
        user = await node.somebody()
        client = await node.connect(user)
        assert [await client.refused("nonsense") for _ in range(6)] == ["unknown_type"] * 5 + ["rate_limited"]
        assert await client.refused("ping") == "rate_limited"


async def test_who_goes_on_all_the_same_is_closed(start_node: StartNode) -> None:
    async with start_node(rate_limits__command="5/hour") as node:
        client = await node.connect(await node.somebody())
        for _ in range(LIMITED_BEFORE_CLOSE + 5):
            await client.tell("ping")
        assert (await client.closed())[0] == 4429
        assert sum(event["type"] == "error" for event in client.heard) == LIMITED_BEFORE_CLOSE
        assert node.replica.rate_limiter is not None
        assert node.replica.rate_limiter.refusals.sockets_closed == 1


async def test_a_user_who_opens_sockets_too_often_is_refused_before_the_upgrade(start_node: StartNode) -> None:
    async with start_node(rate_limits__connect="2/hour") as node:
        user, other = await node.somebody(), await node.somebody()
        for _ in range(2):
            await (await node.connect(user)).close()
        status, body, headers = await node.refusal(f"?token={user.token}")
        assert (status, body) == (429, {"error": "too many requests", "code": "rate_limited"})
        assert int(headers["retry-after"]) >= 1
        await (await node.connect(other)).close()


async def test_an_address_that_opens_sockets_too_often_is_refused_whoever_asks(start_node: StartNode) -> None:
    async with start_node(rate_limits__connect_address="3/hour") as node:
        user = await node.somebody()
        for _ in range(3):
            assert (await node.refusal("?token=nonsense"))[0] == 401
        status, body, headers = await node.refusal(f"?token={user.token}")
        assert (status, body["code"]) == (429, "rate_limited")
        assert int(headers["retry-after"]) >= 1


async def test_a_full_replica_sends_people_elsewhere(start_node: StartNode) -> None:
    async with start_node(limits__connections=1) as node:
        user = await node.somebody()
        client = await node.connect(user)
        status, body, headers = await node.refusal(f"?token={user.token}")
        assert (status, body["code"]) == (503, "replica_full")
        assert int(headers["retry-after"]) >= 1
        await client.close()


class Returning:
    """Somebody who comes back as told until there is room."""

    def __init__(self, node: Node, user: User) -> None:
        self._node = node
        self._user = user
        self.refusals: list[int] = []

    async def connect(self) -> Client:
        while True:
            try:
                return await self._node.connect(self._user, "&follow=none")
            except InvalidStatus as refused:
                response = refused.response
                self.refusals.append(response.status_code)
                assert response.status_code == 503, response
                assert json.loads(bytes(response.body or b""))["code"] == "overloaded"
                await asyncio.sleep(int(response.headers["Retry-After"]) + random.random())


async def test_a_crowd_gets_in_when_it_comes_back_as_told(start_node: StartNode) -> None:
    async with start_node(limits__connecting=5) as node:
        users = [await node.somebody() for _ in range(6)]
        people = [Returning(node, users[number % len(users)]) for number in range(80)]
        clients = await asyncio.gather(*(person.connect() for person in people))
        assert node.replica.gateway.admission.overloaded == sum(len(person.refusals) for person in people) > 0
        await asyncio.gather(*(client.close() for client in clients))


# -- addresses --------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def telling(proxies: list[str], protocol: str) -> AsyncIterator[int]:
    """A server that answers everybody with the address that it takes them for."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        told = scope["client"][0].encode()
        kind = "http" if scope["type"] == "http" else "websocket.http"
        await receive()
        await send(
            {"type": f"{kind}.response.start", "status": 403, "headers": [(b"content-length", b"%d" % len(told))]}
        )
        await send({"type": f"{kind}.response.body", "body": told})

    hosts = trusted_hosts(proxies)
    async with serving(app, PROTOCOLS[protocol], proxy_headers=True, forwarded_allow_ips=hosts) as (_, port):
        yield port


async def asked(port: int, forwarded: str, own: str, *, upgrade: bool) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(own, 0))
    more = (
        "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
        "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        if upgrade
        else ""
    )
    writer.write(f"GET /ws HTTP/1.1\r\nhost: x\r\nx-forwarded-for: {forwarded}\r\n{more}\r\n".encode())
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    length = next(
        int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
    )
    body = await asyncio.wait_for(reader.readexactly(length), 5)
    writer.close()
    return body.decode()


@pytest.mark.parametrize("upgrade", [False, True], ids=["http", "websocket"])
@pytest.mark.parametrize(
    ("forwarded", "own", "taken_for"),
    [
        ("192.0.2.7", "127.0.0.1", "192.0.2.7"),
        ("192.0.2.7", "127.0.0.9", "127.0.0.9"),
        ("203.0.113.1, 192.0.2.7", "127.0.0.1", "192.0.2.7"),
        ("203.0.113.1, 192.0.2.7, 10.1.2.3", "127.0.0.1", "192.0.2.7"),
        ("2001:db8::7", "127.0.0.1", "2001:db8::7"),
    ],
    ids=["a proxy is believed", "nobody else", "only the last hop", "the last untrusted hop", "IPv6"],
)
async def test_whose_word_on_an_address_counts(
    protocol: str, forwarded: str, own: str, taken_for: str, upgrade: bool
) -> None:
    async with telling(["127.0.0.1", "10.9.9.9/8"], protocol) as port:
        assert await asked(port, forwarded, own, upgrade=upgrade) == taken_for


def test_a_proxy_is_known_by_either_form_of_its_address() -> None:
    assert trusted_hosts(["10.9.9.9/8", "::1"]) == ["10.0.0.0/8", "::ffff:10.0.0.0/104", "::1/128"]


def test_counting_takes_next_to_no_time() -> None:
    from chatapp.limiting.allowances import Allowance
    from chatapp.limiting.portions import Portions, Teller

    async def measure() -> float:
        sends = Portions("send", Allowance(10_000_000, 60), Teller(None))
        began = time.perf_counter()
        for _ in range(20_000):
            sends.take(7)
        return (time.perf_counter() - began) / 20_000

    assert asyncio.run(measure()) < 20e-6
