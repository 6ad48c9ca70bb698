"""A connection counts only when a server answers that wants us, in time and in Redis' own language."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from chatapp.bus.resp import Endpoint, Refused, connect

Serve = Callable[[bytes | None], Awaitable[Endpoint]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """A server that answers everything with these bytes; with None it hangs up."""
    servers: list[asyncio.Server] = []

    async def serve(answer: bytes | None) -> Endpoint:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            if answer is not None:
                writer.write(answer)
                await reader.read()
            writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        servers.append(server)
        return Endpoint("127.0.0.1", server.sockets[0].getsockname()[1])

    yield serve
    for server in servers:
        server.close()


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"", TimeoutError),
        (None, ConnectionResetError),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", ConnectionResetError),
        (b"+OK\r\n-LOADING the dataset is being loaded\r\n", Refused),
        (b"+OK\r\n-NOAUTH Authentication required.\r\n", Refused),
    ],
    ids=["silent", "hangs up", "speaks HTTP", "loading", "wants a password"],
)
async def test_a_server_that_does_not_let_us_in_raises(
    serve: Serve, answer: bytes | None, problem: type[Exception]
) -> None:
    with pytest.raises(problem):
        await connect(await serve(answer), name=b"test", timeout_s=0.3)


async def test_a_connection_that_was_aborted_ends_and_takes_no_more(serve: Serve) -> None:
    connection = await connect(await serve(b"+OK\r\n+PONG\r\n"), name=b"test", timeout_s=1)
    connection.abort()
    await asyncio.wait_for(connection.closed, 1)
    connection.write(b"dropped, which is no error")


def test_an_endpoint_shows_no_password() -> None:
    endpoint = Endpoint.from_url("redis://someone:secret@example.org:7000/3")
    assert (endpoint.username, endpoint.password) == ("someone", "secret")
    assert f"{endpoint} {endpoint!r}" == "example.org:7000 example.org:7000"
