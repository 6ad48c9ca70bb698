"""The gateway's protocol under a real uvicorn, spoken to in bytes."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from chatapp.gateway import wire
from chatapp.gateway.frames import FRAGMENTS
from chatapp.gateway.transport import Burst
from chatapp.gateway.wire import CONTROL_FRAMES_PER_S, PONG_BACKLOG_BYTES, TAKE_OVER, Cork, WireProtocol
from chatapp.protocol.codes import CloseCode
from tests.gateway.clients import close, masked, ping, pong, text
from tests.gateway.replicas import serving

LIMIT = 2000


class Receiver:
    """What a socket said, and the transport to answer on."""

    def __init__(self, transport: WireProtocol) -> None:
        self.transport = transport
        self.texts: list[bytes] = []
        self.binaries: list[bytes] = []
        self.signs_of_life = 0
        self.ends = 0

    def receive(self, text: bytes) -> None:
        self.texts.append(text)

    def heard(self) -> None:
        self.signs_of_life += 1

    def ended(self) -> None:
        self.ends += 1


class Clock:
    """The loop's time, and nothing else of it."""

    def __init__(self, now: float) -> None:
        self.now = now

    def time(self) -> float:
        return self.now


class Endpoint:
    """Accepts every handshake and hands it over, once it may."""

    def __init__(self) -> None:
        self.receivers: list[Receiver] = []
        self.peers: list[Peer] = []
        self.may_accept = asyncio.Event()
        self.may_accept.set()
        self.port = 0
        self.takes_binary = False
        self.server: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket"
        await receive()
        await self.may_accept.wait()
        if scope["path"] == "/fail":
            raise RuntimeError("a fault of the endpoint")
        await send({"type": "websocket.accept"})
        take_over = scope["extensions"][TAKE_OVER]
        receiver = Receiver(take_over.__self__)
        self.receivers.append(receiver)
        take_binary = receiver.binaries.append if self.takes_binary else None
        take_over(receiver, LIMIT, Cork(asyncio.get_running_loop()), take_binary)

    async def too_early(self, early: bytes) -> Peer:
        """A client that sends this before its handshake is answered."""
        self.may_accept.clear()
        connections = self.server.server_state.connections
        before = set(connections)
        peer = await self.connect()
        await until(lambda: any(type(c) is WireProtocol for c in connections - before))
        peer.send(early)
        await peer.writer.drain()
        await asyncio.sleep(0.02)
        self.may_accept.set()
        return peer

    async def connect(self, path: str = "/ws", buffer_bytes: int | None = None) -> Peer:
        """A client in bytes."""
        raw = socket.socket()
        if buffer_bytes is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        raw.setblocking(False)
        await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", self.port))
        reader, writer = await asyncio.open_connection(sock=raw, limit=64 * 1024)
        key = base64.b64encode(os.urandom(16)).decode()
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        self.peers.append(Peer(reader, writer))
        return self.peers[-1]

    def drop_all(self) -> None:
        for peer in self.peers:
            peer.drop()

    async def upgraded(self, path: str = "/ws", **options: Any) -> tuple[Peer, Receiver]:
        """A client whose handshake was answered, and its receiver."""
        count = len(self.receivers)
        peer = await self.connect(path, **options)
        assert await peer.status() == 101
        await until(lambda: len(self.receivers) > count)
        receiver = self.receivers[-1]
        await until(lambda: "conn" not in receiver.transport.__dict__ or receiver.ends > 0)
        return peer, receiver


class Peer:
    """The client's end of a socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def status(self) -> int:
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 5)
        return int(head.split(b" ")[1])

    def send(self, *frames: bytes) -> None:
        self.writer.write(b"".join(frames))

    async def frame(self) -> tuple[int, bytes]:
        """Opcode and payload of the next frame."""
        first, length = await asyncio.wait_for(self.reader.readexactly(2), 5)
        if length == 126:
            length = int.from_bytes(await self.reader.readexactly(2), "big")
        elif length == 127:
            length = int.from_bytes(await self.reader.readexactly(8), "big")
        assert first & 0xF0 == 0x80
        return first & 0x0F, await asyncio.wait_for(self.reader.readexactly(length), 5)

    async def close_code(self) -> int:
        """The code of the close frame that comes, whatever is before it."""
        while True:
            opcode, payload = await self.frame()
            if opcode == 0x8:
                return int.from_bytes(payload[:2], "big")

    async def at_end(self) -> bool:
        """Whether the server ends the stream."""
        with contextlib.suppress(ConnectionError):
            return await asyncio.wait_for(self.reader.read(), 5) is not None
        return True

    def drop(self) -> None:
        self.writer.transport.abort()


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    endpoint = Endpoint()
    async with serving(endpoint, WireProtocol) as (server, port):
        endpoint.port = port
        endpoint.server = server
        yield endpoint
        endpoint.drop_all()
        await until(lambda: all(receiver.ends == 1 for receiver in endpoint.receivers))


@pytest.fixture
def short_close(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "CLOSE_TIMEOUT_S", 0.1)


# -- what is uvicorn's --------------------------------------------------------------------------------------------


def test_the_private_names_of_uvicorn_are_as_they_were() -> None:
    """uvicorn promises none of these; when this fails, read ``WireProtocol`` beside the new version."""
    for method in (
        "run_asgi",
        "receive",
        "send",
        "send_500_response",
        "stop_keepalive",
        "connection_lost",
        "data_received",
        "resume_writing",
        "pause_writing",
        "eof_received",
        "shutdown",
    ):
        assert callable(getattr(WebSocketsSansIOProtocol, method)), method

    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    loop = asyncio.new_event_loop()
    try:
        config = Config(app, ws=WebSocketsSansIOProtocol, log_config=None)
        config.load()
        protocol = WebSocketsSansIOProtocol(config, ServerState(), {}, loop)
    finally:
        loop.close()
    assert protocol.conn.reader.buffer == bytearray()
    assert isinstance(protocol.writable, asyncio.Event)
    assert protocol.writable.is_set()
    assert isinstance(protocol.queue, asyncio.Queue)
    assert isinstance(protocol.connections, set)
    assert protocol.tasks == set()
    state = (protocol.handshake_complete, protocol.disconnected, protocol.read_paused, protocol.close_timer)
    assert state == (False, False, False, None)
    assert protocol.logger is protocol.conn.logger or isinstance(protocol.conn.logger, logging.Logger)
    for name in ("app", "app_state", "default_headers", "frames", "loop", "transport"):
        assert hasattr(protocol, name), name


# -- taking over --------------------------------------------------------------------------------------------------


async def test_a_connection_that_was_taken_over_holds_nothing_of_the_handshake(endpoint: Endpoint) -> None:
    peer, receiver = await endpoint.upgraded()
    held = receiver.transport.__dict__
    assert not {"scope", "request", "response", "queue", "conn", "app", "frames"} & held.keys()
    assert not endpoint.server.server_state.tasks
    assert receiver.transport in endpoint.server.server_state.connections
    peer.drop()
    await until(lambda: receiver.ends == 1)
    assert receiver.transport not in endpoint.server.server_state.connections


async def test_frames_go_both_ways(endpoint: Endpoint) -> None:
    peer, receiver = await endpoint.upgraded()
    peer.send(text("one"), masked(0x1, b"tw", fin=False), masked(0x0, b"o"), text("ä"))
    await until(lambda: len(receiver.texts) == 3)
    assert receiver.texts == [b"one", b"two", "ä".encode()]
    receiver.transport.write(Burst([b"a", b"b" * 200, b"c" * 70_000]))
    assert [await peer.frame() for _ in range(3)] == [(1, b"a"), (1, b"b" * 200), (1, b"c" * 70_000)]
    peer.drop()


@pytest.mark.parametrize("early", [text("early"), masked(0x1, b"half")[:5]], ids=["text", "half"])
async def test_who_sends_before_the_handshake_is_answered_gets_no_connection(endpoint: Endpoint, early: bytes) -> None:
    peer = await endpoint.too_early(early)
    assert await peer.at_end()
    peer.drop()
    await until(lambda: not endpoint.server.server_state.connections)
    assert all(receiver.ends == 1 and not receiver.texts for receiver in endpoint.receivers)


async def test_garbage_before_the_handshake_is_answered_harms_nobody(endpoint: Endpoint) -> None:
    for early in (b"\xff" * 50, b"\x81\x00", close(), ping(), text(b"\xff"), b"GET / HTTP/1.1\r\n\r\n"):
        (await endpoint.too_early(early)).drop()
    await until(lambda: not endpoint.server.server_state.connections)
    peer, _ = await endpoint.upgraded()
    peer.drop()


async def test_who_goes_before_the_handshake_is_answered_leaves_nothing(endpoint: Endpoint) -> None:
    endpoint.may_accept.clear()
    peers = [await endpoint.connect() for _ in range(3)]
    await until(lambda: len(endpoint.server.server_state.tasks) == 3)
    for peer in peers:
        peer.drop()
    await until(lambda: not endpoint.server.server_state.connections)
    endpoint.may_accept.set()
    await until(lambda: not endpoint.server.server_state.tasks)
    assert all(receiver.ends == 1 for receiver in endpoint.receivers)


async def test_an_endpoint_that_fails_is_answered_with_500(endpoint: Endpoint) -> None:
    peer = await endpoint.connect("/fail")
    assert await peer.status() == 500
    assert await peer.at_end()


async def test_a_token_in_the_address_is_not_logged(endpoint: Endpoint, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        peer, _ = await endpoint.upgraded("/ws?token=SECRET")
        failing = await endpoint.connect("/fail?token=SECRET")
        await failing.at_end()
    peer.drop()
    assert "SECRET" not in "".join(record.getMessage() for record in caplog.records)


# -- signs of life ------------------------------------------------------------------------------------------------


async def test_pings_are_answered_and_pongs_are_heard(endpoint: Endpoint) -> None:
    peer, receiver = await endpoint.upgraded()
    peer.send(ping(b"abc"), ping(b""), pong(b"late"))
    assert await peer.frame() == (0xA, b"abc")
    assert await peer.frame() == (0xA, b"")
    await until(lambda: receiver.signs_of_life == 3)
    receiver.transport.ping()
    assert await peer.frame() == (0x9, b"")
    peer.drop()


@pytest.mark.parametrize("frame", [ping(b"x" * 125), ping(), pong()], ids=["pings", "empty pings", "pongs"])
async def test_a_flood_of_control_frames_by_a_client_that_does_not_read_is_ended_and_takes_no_memory(
    endpoint: Endpoint, frame: bytes
) -> None:
    peer, receiver = await endpoint.upgraded(buffer_bytes=4096)
    most = 0
    for _ in range(50):
        peer.send(frame * 500)
        await asyncio.sleep(0)
        most = max(most, receiver.transport.backlog_bytes)
    assert most <= PONG_BACKLOG_BYTES + 200
    assert receiver.signs_of_life <= 3 * CONTROL_FRAMES_PER_S  # the flood may last from one second to the next
    assert await peer.close_code() == CloseCode.TOO_MANY_ERRORS
    peer.drop()
    await until(lambda: receiver.ends == 1)


async def test_control_frames_now_and_then_are_no_flood(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    peer, receiver = await endpoint.upgraded()
    now = receiver.transport.loop.time()
    clock = Clock(now)
    monkeypatch.setattr(receiver.transport, "loop", clock)
    for second in range(5):
        clock.now = now + second
        peer.send(ping(b"a") * (CONTROL_FRAMES_PER_S // 2))
        for _ in range(CONTROL_FRAMES_PER_S // 2):
            assert await peer.frame() == (0xA, b"a")
    monkeypatch.undo()
    peer.drop()


async def test_who_goes_on_sending_after_the_close_is_not_listened_to(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, short_close: None
) -> None:
    monkeypatch.setattr(wire, "CLOSING_BYTES", 10_000)
    peer, receiver = await endpoint.upgraded()
    receiver.transport.close(CloseCode.NORMAL)
    flood = text(b"x" * 1000) * 1000
    for _ in range(100):
        peer.send(flood)
    assert await peer.close_code() == 1000
    assert await peer.at_end()
    await until(lambda: receiver.ends == 1)
    peer.drop()


async def test_binary_messages_reach_who_takes_them(endpoint: Endpoint) -> None:
    endpoint.takes_binary = True
    peer, receiver = await endpoint.upgraded()
    peer.send(masked(0x2, b"\xff\0"), masked(0x2, b"\xff", fin=False), masked(0x0, b"\xfe"), text("a"))
    await until(lambda: bool(receiver.texts))
    assert receiver.binaries == [b"\xff\0", b"\xff\xfe"]
    peer.drop()


async def test_a_message_in_endless_fragments_is_ended(endpoint: Endpoint) -> None:
    peer, receiver = await endpoint.upgraded()
    peer.send(masked(0x1, fin=False), masked(0x0, fin=False) * (FRAGMENTS + 1))
    assert await peer.close_code() == CloseCode.POLICY
    assert receiver.texts == []
    peer.drop()


# -- slow readers -------------------------------------------------------------------------------------------------


async def test_a_reader_that_stops_is_aborted_in_time_and_its_backlog_freed(
    endpoint: Endpoint, short_close: None
) -> None:
    peer, receiver = await endpoint.upgraded(buffer_bytes=4096)
    peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
    burst = Burst([b"x" * 60_000])
    transport = receiver.transport
    for _ in range(400):
        if transport.backlog_bytes > 500_000:
            break
        transport.write(burst)
        await asyncio.sleep(0)
    assert transport.backlog_bytes > 500_000
    transport.close(CloseCode.TOO_SLOW, "too slow")
    backlog = transport.backlog_bytes
    for _ in range(50):
        transport.write(burst)
    assert transport.backlog_bytes <= backlog
    await until(lambda: receiver.ends == 1)
    assert transport not in endpoint.server.server_state.connections
    peer.drop()


async def test_a_reader_that_stops_is_closed_in_time_even_if_it_shows_life(
    endpoint: Endpoint, short_close: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "STALLED_TIMEOUT_S", 0.2)
    peer, receiver = await endpoint.upgraded(buffer_bytes=4096)
    peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
    while receiver.transport.writable.is_set():
        receiver.transport.write(Burst([b"x" * 60_000]))
        await asyncio.sleep(0)
    peer.send(pong(b"alive"))
    await until(lambda: receiver.ends == 1)
    assert receiver.signs_of_life == 1
    peer.drop()


async def test_a_reader_that_catches_up_in_time_stays(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "STALLED_TIMEOUT_S", 0.5)
    peer, receiver = await endpoint.upgraded(buffer_bytes=4096)
    count = 0
    while receiver.transport.writable.is_set():
        receiver.transport.write(Burst([b"x" * 60_000]), at_once=True)
        count += 1
    for _ in range(count):
        assert (await peer.frame())[0] == 0x1
    await asyncio.sleep(0.6)
    peer.send(ping(b"still"))
    assert await peer.frame() == (0xA, b"still")
    peer.drop()


async def test_drained_waits_until_the_client_reads(endpoint: Endpoint) -> None:
    peer, receiver = await endpoint.upgraded(buffer_bytes=4096)
    peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
    transport = receiver.transport
    await asyncio.wait_for(transport.drained(), 5)
    burst = Burst([b"x" * 60_000])
    while transport.writable.is_set():
        transport.write(burst)
        await asyncio.sleep(0)
    waiting = [asyncio.ensure_future(transport.drained()) for _ in range(2)]
    await asyncio.sleep(0.01)
    assert not any(wait.done() for wait in waiting)
    peer.drop()
    await asyncio.wait_for(asyncio.gather(*waiting), 5)
    await until(lambda: receiver.ends == 1)


async def test_a_client_that_sends_no_more_and_reads_no_more_is_aborted(endpoint: Endpoint, short_close: None) -> None:
    peer, receiver = await endpoint.upgraded(buffer_bytes=4096)
    peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
    for _ in range(100):
        receiver.transport.write(Burst([b"x" * 60_000]))
    peer.writer.write_eof()
    await until(lambda: receiver.ends == 1)
    peer.drop()


async def test_reading_can_be_paused(endpoint: Endpoint) -> None:
    peer, receiver = await endpoint.upgraded()
    receiver.transport.pause_reading()
    peer.send(text("later"))
    await peer.writer.drain()
    await asyncio.sleep(0.02)
    assert receiver.texts == []
    receiver.transport.resume_reading()
    await until(lambda: receiver.texts == [b"later"])
    peer.drop()


# -- the end ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "answer"), [(1000, 1000), (1001, 1001), (4000, 4000), (None, 1000)])
async def test_a_client_that_closes_is_answered(endpoint: Endpoint, code: int | None, answer: int) -> None:
    peer, receiver = await endpoint.upgraded()
    peer.send(text("last"), close(code), text("ignored"))
    assert await peer.close_code() == answer
    assert await peer.at_end()
    await until(lambda: receiver.ends == 1)
    assert receiver.texts == [b"last"]
    receiver.transport.write(Burst([b"x"]))
    receiver.transport.ping()
    receiver.transport.close(CloseCode.NORMAL)
    receiver.transport.pause_reading()
    receiver.transport.resume_reading()
    receiver.transport.abort()


async def test_a_server_that_closes_waits_for_the_answer(endpoint: Endpoint) -> None:
    peer, receiver = await endpoint.upgraded()
    receiver.transport.pause_reading()
    receiver.transport.write(Burst([b"before"]))
    receiver.transport.close(CloseCode.TOO_SLOW, "reason")
    receiver.transport.close(CloseCode.NORMAL)
    receiver.transport.write(Burst([b"after"]))
    assert await peer.frame() == (1, b"before")
    assert await peer.frame() == (8, (4409).to_bytes(2, "big") + b"reason")
    assert receiver.ends == 0
    peer.send(close(4409))
    assert await peer.reader.read() == b""
    await until(lambda: receiver.ends == 1)


async def test_a_client_that_does_not_answer_a_close_is_aborted(endpoint: Endpoint, short_close: None) -> None:
    peer, receiver = await endpoint.upgraded()
    receiver.transport.close(CloseCode.NORMAL)
    assert await peer.close_code() == 1000
    assert await peer.at_end()
    await until(lambda: receiver.ends == 1)


@pytest.mark.parametrize("rest", [b"", text("hello")[:3], masked(0x1, b"a", fin=False)], ids=["none", "half", "open"])
async def test_a_client_that_vanishes_ends_its_connection_once(endpoint: Endpoint, rest: bytes) -> None:
    for drop in (Peer.drop, lambda peer: peer.writer.close()):
        peer, receiver = await endpoint.upgraded()
        peer.send(text("whole"), rest)
        await until(lambda receiver=receiver: receiver.texts == [b"whole"])  # type: ignore[misc]
        drop(peer)
        await until(lambda receiver=receiver: receiver.ends == 1)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("stream", "code"),
    [
        (text(b"x" * (LIMIT + 1)), 1009),
        (b"\x81\xff" + (2**40).to_bytes(8, "big"), 1009),
        (text(b"\xff"), 1007),
        (masked(0x2, b"binary"), 1003),
        (b"\x81\x02hi", 1002),
        (masked(0x0, b"x"), 1002),
        (masked(0x3), 1002),
    ],
)
async def test_who_breaks_the_protocol_is_told_how_and_closed_at_once(
    endpoint: Endpoint, stream: bytes, code: int
) -> None:
    peer, receiver = await endpoint.upgraded()
    loop = asyncio.get_running_loop()
    started = loop.time()
    peer.send(text("fine"), stream, text("ignored"))
    assert await peer.close_code() == code
    assert await peer.reader.read() == b""
    peer.writer.close()
    await until(lambda: receiver.ends == 1)
    assert loop.time() - started < 2.0
    assert receiver.texts == [b"fine"]


async def test_a_server_that_shuts_down_sends_everybody_elsewhere() -> None:
    endpoint = Endpoint()
    async with serving(endpoint, WireProtocol) as (_, port):
        endpoint.port = port
        peer, receiver = await endpoint.upgraded()

        async def answer() -> int:
            code = await peer.close_code()
            peer.send(close(code))
            return code

        answering = asyncio.ensure_future(answer())
    assert await answering == CloseCode.SERVICE_RESTART
    assert receiver.ends == 1
    endpoint.drop_all()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what has no event of its own."""
    async with asyncio.timeout(8):
        while not condition():
            await asyncio.sleep(0.005)
