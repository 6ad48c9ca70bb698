"""The proxy does to a connection what it is told, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from tests.chaos.proxy import FaultProxy


@pytest.fixture
async def echo() -> AsyncIterator[FaultProxy]:
    """A proxy in front of a server that answers with what it is told."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionResetError):
            while piece := await reader.read(1024):
                writer.write(piece)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    proxy = FaultProxy(server.sockets[0].getsockname()[1])
    await proxy.start()
    yield proxy
    await proxy.close()
    server.close()


async def connect(proxy: FaultProxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(b"hello")
    assert await reader.readexactly(5) == b"hello"
    return reader, writer


async def test_bytes_pass_and_an_end_is_passed_on(echo: FaultProxy) -> None:
    reader, writer = await connect(echo)
    writer.write_eof()
    assert await reader.read() == b""
    writer.close()


async def test_bytes_pass_whole_in_small_late_pieces(echo: FaultProxy) -> None:
    reader, writer = await connect(echo)
    echo.weather.slice_bytes, echo.weather.delay_s = 3, 0.0001
    writer.write(b"0123456789" * 10)
    assert await reader.readexactly(100) == b"0123456789" * 10
    writer.close()


async def test_bytes_pass_once_when_the_weather_changes_between(echo: FaultProxy) -> None:
    reader, writer = await connect(echo)
    echo.weather.slice_bytes, echo.weather.delay_s = 3, 0.001
    writer.write(b"0123456789" * 10)
    begun = await reader.readexactly(10)
    echo.weather.slice_bytes, echo.weather.delay_s = 1000, 0.0
    assert begun + await reader.readexactly(90) == b"0123456789" * 10
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.1)
    writer.close()


async def test_a_reset_link_ends_with_an_error(echo: FaultProxy) -> None:
    reader, writer = await connect(echo)
    for link in echo.links:
        link.reset()
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()


async def test_a_silent_link_answers_nothing_and_does_not_end(echo: FaultProxy) -> None:
    reader, writer = await connect(echo)
    for link in echo.links:
        link.go_silent()
    writer.write(b"anybody?")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.1)
    writer.close()


async def test_a_stalled_link_delivers_everything_once_it_goes_on(echo: FaultProxy) -> None:
    reader, writer = await connect(echo)
    for link in echo.links:
        link.stall()
    writer.write(b"later")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.1)
    for link in echo.links:
        link.resume()
    assert await reader.readexactly(5) == b"later"
    writer.close()
