"""uvicorn's HTTP protocol with the bounds it leaves open (uvicorn 0.54).

Headers must come, soon, and not without end; who sends request upon request without waiting for an answer, or does not
take the answers, is cut off; a request must say which host it is for, and how long it is in one way.

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
PIPELINED = 16
"""Requests that may wait for the answer to an earlier one; what follows them is not read. One read of the socket could
bring thousands."""
ANSWER_TIMEOUT_S = 60.0
"""A client whose answers fill a buffer (64 KiB) has this long to take most of it."""


UNREAD_BODY_S = 5.0
"""How long the rest of a body may take that was answered already."""


class _Refused(Exception):
    """The request was answered, or its connection closed: parse no further."""


class BoundedHttpProtocol(HttpToolsProtocol):
    """For ``uvicorn.Config(http=…)``. What is wrong gets a 400, 408 or 431 and is closed."""

    headers_timeout_s = HEADERS_TIMEOUT_S

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadline: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._lingering: asyncio.TimerHandle | None = None
        self._is_within_body = False
        self._header_bytes = 0
        self._has_enough = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See ``asyncio.Protocol``."""
        super().connection_made(transport)
        self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio.Protocol``."""
        self._headers_are_here()
        self._goes_on()
        self._body_is_here()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection on, and let go of the parser, as uvicorn does at a connection's end.

        It holds this object's callbacks, so that both would stay until the cycle collector looks, which is seldom.
        """
        super().handle_websocket_upgrade()
        self.parser = None  # type: ignore[assignment]

    def pause_writing(self) -> None:
        """The answers fill the buffer."""
        super().pause_writing()
        self._stalled = self.loop.call_later(ANSWER_TIMEOUT_S, self.transport.abort)

    def resume_writing(self) -> None:
        """The client took them."""
        self._goes_on()
        super().resume_writing()

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
        """Stop waiting, and look at what a proxy in front might have read in another way."""
        self._headers_are_here()
        if (reason := self._contradiction()) is not None:
            self._refuse(b"400 Bad Request", b"malformed", reason)
            raise _Refused
        if len(self.pipeline) >= PIPELINED:
            self._has_enough = True
            self.cycle.keep_alive = False  # the last that is answered
            raise _Refused
        self._is_within_body = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The body is here."""
        self._body_is_here()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Do not wait for ever for the rest of a body that was refused."""
        super().on_response_complete()
        if self._is_within_body and self._lingering is None and not self.transport.is_closing():
            self._lingering = self.loop.call_later(UNREAD_BODY_S, self.transport.close)

    def _contradiction(self) -> bytes | None:
        """What makes it unclear which request this is, or where it ends (RFC 9112 sections 3.2, 6.1 and 6.3)."""
        hosts = encodings = 0
        for name, value in self.headers:
            if name == b"host":
                hosts += 1
            elif name == b"transfer-encoding":
                encodings += 1
                if value.lower() != b"chunked":
                    return b"this transfer encoding is not known"
        version = self.parser.get_http_version()
        if hosts > 1 or (hosts == 0 and version == "1.1"):
            return b"exactly one Host header is wanted"
        if encodings > 1 or (encodings and version != "1.1"):
            return b"the length of the body is unclear"
        return None

    def _count(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > HEADERS_BYTES or len(self.headers) >= HEADERS_COUNT:
            self._headers_are_here()
            self._refuse(b"431 Request Header Fields Too Large", b"headers_too_large")
            raise _Refused

    def _expect_headers(self) -> None:
        self._deadline = self.loop.call_later(self.headers_timeout_s, self._late)

    def _headers_are_here(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _goes_on(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _body_is_here(self) -> None:
        self._is_within_body = False
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None

    def _late(self) -> None:
        self._deadline = None
        self._refuse(b"408 Request Timeout", b"headers_timeout")

    def _refuse(self, status: bytes, code: bytes, error: bytes | None = None) -> None:
        """Answer, unless the answer to an earlier request is still to come, and close."""
        if self.transport.is_closing():
            return
        cycle = self.cycle
        if cycle is None or cycle.response_complete or not (cycle.response_started or self.pipeline):
            if cycle is not None and not cycle.response_complete:  # the body of this one cannot be read
                cycle.disconnected = True
                cycle.message_event.set()
            body = b'{"error":"%s","code":"%s"}' % (error or status[4:].lower(), code)
            self.transport.write(
                b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s"
                % (status, len(body), body)
            )
        self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Answer what cannot be parsed, unless it was refused already."""
        self._headers_are_here()
        if not self._has_enough:
            self._refuse(b"400 Bad Request", b"malformed", b"the request cannot be read")


def bounded(headers_timeout_s: float) -> type[BoundedHttpProtocol]:
    """The same with another time for the headers."""

    class Bounded(BoundedHttpProtocol):
        pass

    Bounded.headers_timeout_s = headers_timeout_s
    return Bounded
