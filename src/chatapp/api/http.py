"""uvicorn's HTTP protocol with the bounds it leaves open: headers must come, soon, and not without end (uvicorn 0.54).

Private names of uvicorn are used: its parser callbacks, ``transport``, ``loop``. ``tests/acceptance`` fails when they
change.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADERS_TIMEOUT_S = 10.0
"""From the connection, or the first byte of a further request, to the end of its headers."""
HEADERS_BYTES = 128 * 1024
HEADERS_COUNT = 128


class _TooLong(Exception):
    """The headers pass a bound."""


class BoundedHttpProtocol(HttpToolsProtocol):
    """For ``uvicorn.Config(http=…)``. Whoever is too late or too long gets a 408 or 431 and is closed."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadline: asyncio.TimerHandle | None = None
        self._header_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See ``asyncio.Protocol``."""
        super().connection_made(transport)
        self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio.Protocol``."""
        self._headers_are_here()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Begin to wait for the headers of a request."""
        super().on_message_begin()
        self._header_bytes = 0
        if self._deadline is None:
            self._expect_headers()

    def on_url(self, url: bytes) -> None:
        """Count the address with the headers."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count."""
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Stop waiting."""
        self._headers_are_here()
        super().on_headers_complete()

    def _count(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > HEADERS_BYTES or len(self.headers) >= HEADERS_COUNT:
            self._headers_are_here()
            self._refuse(b"431 Request Header Fields Too Large", b"headers_too_large")
            raise _TooLong

    def _expect_headers(self) -> None:
        self._deadline = self.loop.call_later(HEADERS_TIMEOUT_S, self._late)

    def _headers_are_here(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _late(self) -> None:
        self._deadline = None
        self._refuse(b"408 Request Timeout", b"headers_timeout")

    def _refuse(self, status: bytes, code: bytes) -> None:
        """Answer, unless an answer to an earlier request is still being written, and close."""
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:
            body = b'{"error":"%s","code":"%s"}' % (status[4:].lower(), code)
            self.transport.write(
                b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s"
                % (status, len(body), body)
            )
        self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Answer what cannot be parsed, unless it was refused already."""
        if not self.transport.is_closing():
            super().send_400_response(msg)
