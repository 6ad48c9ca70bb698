"""HTTP and WebSocket by hand, for what no client library would send."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from msgspec import Struct

from tests.acceptance.replicas import ReplicaProcess

ANSWER_S = 8.0
TEXT, CLOSE, PING = 0x81, 0x88, 0x89


class Answer(Struct, frozen=True):
    """``status`` 0: the connection was closed without one."""

    status: int
    body: bytes


class Wire:
    """One TCP connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self._writer = writer

    async def write(self, data: bytes) -> None:
        """Send; the other side may have closed already."""
        with contextlib.suppress(ConnectionError):
            self._writer.write(data)
            await self._writer.drain()

    def write_eof(self) -> None:
        """Send nothing more, but listen on."""
        with contextlib.suppress(OSError):
            self._writer.write_eof()

    def vanish(self) -> None:
        """Be gone, without a word."""
        self._writer.transport.abort()

    async def answer(self, within_s: float = ANSWER_S) -> Answer:
        """The next HTTP answer."""
        async with asyncio.timeout(within_s):
            try:
                head = await self.reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                return Answer(0, b"")
            lines = head.lower().split(b"\r\n")
            lengths = [int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:")]
            body = b""
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                body = await self.reader.readexactly(lengths[0]) if lengths else b""
            return Answer(int(head.split(b" ", 2)[1]), body)

    async def frame(self) -> tuple[int, bytes]:
        """The next frame: its first byte and its payload."""
        async with asyncio.timeout(ANSWER_S):
            first, length = await self.reader.readexactly(2)
            if length >= 126:
                length = int.from_bytes(await self.reader.readexactly(2 if length == 126 else 8), "big")
            return first, await self.reader.readexactly(length)

    async def close_code(self) -> int:
        """The code of the close frame, past all other frames."""
        while (frame := await self.frame())[0] != CLOSE:
            pass
        return int.from_bytes(frame[1][:2], "big")

    async def is_closed(self, within_s: float = ANSWER_S) -> bool:
        """Whether the other side closes, in time."""
        try:
            async with asyncio.timeout(within_s):
                while await self.reader.read(65536):
                    pass
        except TimeoutError:
            return False
        except ConnectionError:
            return True
        return True


@asynccontextmanager
async def wire(replica: ReplicaProcess) -> AsyncIterator[Wire]:
    """A connection, cut off in the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", replica.port, limit=1 << 22)
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()


@asynccontextmanager
async def upgraded(replica: ReplicaProcess, token: str) -> AsyncIterator[Wire]:
    """A WebSocket connection, after its ``ready``."""
    async with wire(replica) as opened:
        await opened.write(handshake(token))
        assert (await opened.answer()).status == 101
        first, payload = await opened.frame()
        assert first == TEXT
        assert b'"ready"' in payload
        yield opened


def request(method: str, path: str, body: bytes = b"", *headers: str, token: str = "") -> bytes:
    """A request that is well-formed as far as its parts are."""
    lines = [f"{method} {path} HTTP/1.1", "Host: x", *headers]
    if token:
        lines.append(f"Authorization: Bearer {token}")
    if body:
        lines.append(f"Content-Length: {len(body)}")
        if not any(line.lower().startswith("content-type") for line in lines):
            lines.append("Content-Type: application/json")
    return "\r\n".join((*lines, "", "")).encode("latin-1") + body


def handshake(token: str, *headers: str) -> bytes:
    """The request of an upgrade."""
    return request(
        "GET",
        "/ws",
        b"",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        *headers,
        token=token,
    )


def masked(payload: bytes, first: int = TEXT) -> bytes:
    """A whole frame from a client."""
    if len(payload) < 126:
        length = bytes((0x80 | len(payload),))
    elif len(payload) < 1 << 16:
        length = bytes((0x80 | 126,)) + len(payload).to_bytes(2, "big")
    else:
        length = bytes((0x80 | 127,)) + len(payload).to_bytes(8, "big")
    key = os.urandom(4)
    return bytes((first,)) + length + key + bytes(byte ^ key[at % 4] for at, byte in enumerate(payload))
