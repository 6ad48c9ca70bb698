"""What a connection writes to, and what is written: bursts of ready frames."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from chatapp.protocol.codes import CloseCode

NO_STATUS = 1005
"""The client's close frame gave no code (RFC 6455 section 7.4.1)."""
ABNORMAL = 1006
"""The socket ended without a close frame."""


class Burst:
    """Frames that leave together, encoded once however many connections they go to. Immutable."""

    __slots__ = ("_wire", "texts")

    def __init__(self, texts: Sequence[bytes]) -> None:
        self.texts = texts
        self._wire: bytes | None = None

    @property
    def wire(self) -> bytes:
        """The bytes of all frames as a server sends them: unmasked, so the same for everyone (RFC 6455 section 5.1)."""
        if self._wire is None:
            self._wire = b"".join([part for text in self.texts for part in (_header(len(text)), text)])
        return self._wire


def _header(length: int) -> bytes:
    """Of a text frame, final, without extensions (RFC 6455 section 5.2)."""
    if length < 126:
        return bytes((0x81, length))
    if length < 65536:
        return b"\x81\x7e" + length.to_bytes(2, "big")
    return b"\x81\x7f" + length.to_bytes(8, "big")


class Transport(Protocol):
    """One socket, as the gateway sees it. No method blocks; after the end all of them do nothing."""

    def write(self, burst: Burst, at_once: bool = False) -> int:
        """Write the frames, or keep them until the socket takes them. Returns the backlog in bytes.

        Unless ``at_once``, what is written within one turn of the loop may leave together.
        """

    @property
    def backlog_bytes(self) -> int:
        """What was handed over and the socket has not taken."""

    async def drained(self) -> None:
        """Return when the backlog is small (or the socket has ended)."""

    @property
    def hears_pongs(self) -> bool:
        """Whether pongs reach the connection, so that silence means that the client is gone."""

    def ping(self) -> None:
        """Ask for a sign of life, where ``hears_pongs``."""

    def close(self, code: CloseCode, reason: str = "") -> None:
        """Send a close frame; the socket ends when the client answers it, or after some seconds."""

    def abort(self) -> None:
        """End the socket at once; what was not taken is dropped."""

    @property
    def closed_with(self) -> int | None:
        """The code of the first close frame, whoever sent it; None while there was none."""

    def pause_reading(self) -> None:
        """Take no more frames from the client for now."""

    def resume_reading(self) -> None:
        """Take frames again."""


class AsgiTransport:
    """Over plain ASGI ``send``, under any server. A task of its own writes; the backlog is what it has not written.

    ``send_text`` and ``send_close`` are the server's; ``run`` must be awaited by the endpoint's task group.
    """

    def __init__(
        self,
        send_text: Callable[[str], Awaitable[None]],
        send_close: Callable[[int, str], Awaitable[None]],
        drained_bytes: int,
        send_timeout_s: float = 10.0,
    ) -> None:
        self._send_text = send_text
        self._send_close = send_close
        self._drained_bytes = drained_bytes
        self._send_timeout_s = send_timeout_s
        self._queue: deque[bytes] = deque()
        self._backlog = 0
        self._wake = asyncio.Event()
        self._below = asyncio.Event()
        self._below.set()
        self._reading = asyncio.Event()
        self._reading.set()
        self._closing: tuple[int, str] | None = None
        self.closed_with: int | None = None
        """See ``Transport``."""
        self.ended = asyncio.Event()

    def write(self, burst: Burst, at_once: bool = False) -> int:
        """Queue the frames."""
        if self._closing is not None or self.ended.is_set():
            return 0
        self._queue.extend(burst.texts)
        self._backlog += sum(map(len, burst.texts))
        if self._backlog > self._drained_bytes:
            self._below.clear()
        self._wake.set()
        return self._backlog

    @property
    def backlog_bytes(self) -> int:
        """Bytes that are queued."""
        return self._backlog

    hears_pongs = False

    def ping(self) -> None:
        """The server's own keepalive pings; its pongs are not seen here."""

    async def drained(self) -> None:
        """Wait for the queue to get short."""
        await self._below.wait()

    def close(self, code: CloseCode, reason: str = "") -> None:
        """Write what is queued, then close."""
        if self._closing is None:
            self._closing = (code, reason)
            self.closed_with = self.closed_with or code
            self._wake.set()

    @property
    def is_closing(self) -> bool:
        """Whether ``close`` was called."""
        return self._closing is not None

    def abort(self) -> None:
        """Drop what is queued and end. ASGI has no abort: the server notices when the endpoint returns."""
        self._queue.clear()
        self.ended.set()
        self._below.set()
        self._reading.set()
        self._wake.set()

    def pause_reading(self) -> None:
        """Let the endpoint's loop wait in ``readable``."""
        self._reading.clear()

    def resume_reading(self) -> None:
        """Let it go on."""
        self._reading.set()

    async def readable(self) -> None:
        """Wait while reading is paused."""
        await self._reading.wait()

    async def run(self) -> None:
        """Write until closed or aborted. A write that takes longer than ``send_timeout_s`` ends the connection."""
        try:
            while not self.ended.is_set():
                await self._wake.wait()
                self._wake.clear()
                while self._queue:
                    text = self._queue.popleft()
                    async with asyncio.timeout(self._send_timeout_s):
                        await self._send_text(text.decode())
                    self._backlog -= len(text)
                    if self._backlog <= self._drained_bytes:
                        self._below.set()
                if self._closing is not None:
                    async with asyncio.timeout(self._send_timeout_s):
                        await self._send_close(*self._closing)
                    return
        finally:
            self.abort()
