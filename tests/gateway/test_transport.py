from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from chatapp.gateway.transport import AsgiTransport, Burst
from chatapp.protocol.codes import CloseCode


def serialised(body: bytes) -> bytes:
    return Frame(Opcode.TEXT, body).serialize(mask=False, extensions=[])


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_a_bursts_bytes_are_what_the_library_serialises(texts: list[bytes]) -> None:
    assert Burst(texts).wire == b"".join(map(serialised, texts))


@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 65535, 65536, 100_000])
def test_every_form_of_length_is_written_as_the_library_does(length: int) -> None:
    assert Burst([b"x" * length]).wire == serialised(b"x" * length)


def test_a_burst_is_encoded_once() -> None:
    burst = Burst([b"a", b"b"])
    assert burst.wire is burst.wire


class Server:
    """An ASGI server's sending side; it takes what ``gate`` lets through."""

    def __init__(self, drained_bytes: int = 10, send_timeout_s: float = 5.0) -> None:
        self.took: list[str | tuple[int, str]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.transport = AsgiTransport(self._text, self._close, drained_bytes, send_timeout_s)
        self.running = asyncio.get_running_loop().create_task(self.transport.run())

    async def _text(self, text: str) -> None:
        await self.gate.wait()
        self.took.append(text)

    async def _close(self, code: int, reason: str) -> None:
        await self.gate.wait()
        self.took.append((code, reason))


async def test_frames_are_sent_in_their_order_and_the_close_after_them() -> None:
    server = Server()
    server.transport.write(Burst([b"a", b"b"]))
    server.transport.write(Burst([b"c"]))
    server.transport.close(CloseCode.NORMAL, "bye")
    server.transport.write(Burst([b"too late"]))
    await asyncio.wait_for(server.running, 5)
    assert server.took == ["a", "b", "c", (1000, "bye")]


async def test_the_backlog_is_what_the_server_has_not_taken() -> None:
    server = Server()
    server.gate.clear()
    server.transport.write(Burst([b"12345", b"67890", b"abc"]))
    assert server.transport.backlog_bytes == 13
    await asyncio.sleep(0)
    assert server.transport.backlog_bytes == 13
    server.gate.set()
    server.transport.close(CloseCode.NORMAL)
    await asyncio.wait_for(server.running, 5)
    assert server.transport.backlog_bytes == 0


async def test_drained_waits_for_a_short_backlog() -> None:
    server = Server(drained_bytes=4)
    await asyncio.wait_for(server.transport.drained(), 5)
    server.gate.clear()
    server.transport.write(Burst([b"12345"]))
    waiting = asyncio.ensure_future(server.transport.drained())
    await asyncio.sleep(0)
    assert not waiting.done()
    server.gate.set()
    await asyncio.wait_for(waiting, 5)
    server.transport.abort()
    await asyncio.wait_for(server.running, 5)


async def test_a_server_that_takes_nothing_ends_the_connection_in_time() -> None:
    server = Server(send_timeout_s=0.02)
    server.gate.clear()
    server.transport.write(Burst([b"x" * 100]))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(server.running), 5)
    assert server.transport.ended.is_set()
    await asyncio.wait_for(server.transport.drained(), 5)
    server.transport.write(Burst([b"y"]))
    assert server.took == []


async def test_an_abort_drops_what_waits() -> None:
    server = Server()
    server.gate.clear()
    server.transport.write(Burst([b"a"]))
    server.transport.abort()
    server.gate.set()
    await asyncio.wait_for(server.running, 5)
    assert server.took in ([], ["a"])
    assert server.transport.ended.is_set()


async def test_only_the_first_close_counts() -> None:
    server = Server()
    server.transport.close(CloseCode.TOO_SLOW, "one")
    server.transport.close(CloseCode.NORMAL, "two")
    assert server.transport.is_closing
    await asyncio.wait_for(server.running, 5)
    assert server.took == [(4409, "one")]


async def test_reading_can_be_paused() -> None:
    server = Server()
    await asyncio.wait_for(server.transport.readable(), 5)
    server.transport.pause_reading()
    waiting = asyncio.ensure_future(server.transport.readable())
    await asyncio.sleep(0)
    assert not waiting.done()
    server.transport.resume_reading()
    await asyncio.wait_for(waiting, 5)
    server.transport.close(CloseCode.NORMAL)
    await asyncio.wait_for(server.running, 5)
