"""uvicorn's sans-I/O WebSocket protocol, taken over by the gateway once the endpoint has accepted (uvicorn 0.54).

The endpoint finds ``TAKE_OVER`` among the scope's extensions and calls it after its ``websocket.accept``; then it may
return. From there on frames go straight between the socket and the connection: no task, no queue and no scope is kept,
ready frames are written as they are, and the transport's own buffer is the backlog. What uvicorn leaves open is closed
here: a client that stops reading is aborted instead of waited for, pings are not answered into a full buffer, messages
in endless fragments end, silence ends by a heartbeat that hears frames as well as pongs, and no address with a token is
logged.

Private names of uvicorn are used (``run_asgi``, ``handle_connect``, ``conn``, ``queue``, ``handshake_complete``);
``tests/gateway`` holds the contract test that fails when they change.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Protocol

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.typing import StatusLike

from chatapp.gateway.frames import (
    PING,
    Broken,
    CloseFrame,
    FrameReader,
    PingFrame,
    PongFrame,
    Text,
    close_frame,
    pong_frame,
)
from chatapp.gateway.transport import NO_STATUS, Burst
from chatapp.protocol.codes import CloseCode

TAKE_OVER = "chatapp.take_over"
CLOSE_TIMEOUT_S = 5.0
"""How long a client may take to answer a close frame and to take what was written before it."""
PONG_BACKLOG_BYTES = 16 * 1024
"""A client that has this much unread gets no pongs."""
HIGH_WATER_BYTES = 256 * 1024
STALLED_TIMEOUT_S = 30.0
"""A client with ``HIGH_WATER_BYTES`` unread has this long to take three quarters of it, whatever else it says."""
CONTROL_FRAMES_PER_S = 200
"""Pings and pongs; who sends more is closed with 4429."""
CLOSING_BYTES = 256 * 1024
"""A client that goes on sending this much after it was closed is not listened to any more."""
READ_BYTES = 4 * 1024
"""What is read in one piece: a flood is looked at no further than the piece that it is closed for."""
CORK_BYTES = 64 * 1024
"""More than this is not held to the end of the turn."""

_log = logging.getLogger("chatapp.gateway.wire")
_QUIET = logging.getLogger(f"{__name__}.uvicorn")


class Receiver(Protocol):
    """Who takes the frames of a socket: a connection."""

    def receive(self, text: bytes) -> None:
        """A text message, whole."""

    def heard(self) -> None:
        """A pong, or anything else that shows life."""

    def ended(self) -> None:
        """The socket is gone. Called once."""


class Cork:
    """What is written to a socket within one turn of the loop leaves in one system call. One serves all sockets."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._held: list[WireProtocol] = []

    def hold(self, socket: WireProtocol) -> None:
        """The socket has something to write at the end of the turn."""
        if not self._held:
            self._loop.call_soon(self._release)
        self._held.append(socket)

    def _release(self) -> None:
        held, self._held = self._held, []
        for socket in held:
            socket.uncork()


class WireProtocol(WebSocketsSansIOProtocol):
    """A ``Transport``. For ``uvicorn.Config(ws=…)``. Until it is taken over it is uvicorn's own protocol."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # uvicorn logs the address with its query, and the token in it, as information.
        self.logger = self.conn.logger = _QUIET
        if _QUIET.level != logging.WARNING:  # setting it empties every logger's cache: 4 % of a connect
            _QUIET.setLevel(logging.WARNING)
        self._receiver: Receiver | None = None
        self._reader: FrameReader | None = None
        self._take_binary: Callable[[bytes], None] | None = None
        self._drained: asyncio.Event | None = None
        self._closing = False
        self.closed_with: int | None = None
        """See ``Transport``."""
        self._ender: asyncio.TimerHandle | None = None
        self._cork: Cork | None = None
        self._corked: bytes | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._counted_since = 0.0
        self._after_close_bytes = 0

    def handle_connect(self, event: Request) -> None:
        """See uvicorn. What is no handshake is refused in the shape of all refusals, not in that of ``websockets``."""
        self.conn.reject = _refusal  # type: ignore[method-assign]
        super().handle_connect(event)

    # -- the endpoint's side --------------------------------------------------------------------------------------

    async def run_asgi(self) -> None:
        """Run the endpoint; a connection that it handed over outlives it."""
        extensions: dict[Any, Any] = self.scope.setdefault("extensions", {})
        extensions[TAKE_OVER] = self._take_over
        try:
            await self.app(self.scope, self.receive, self.send)
        except Exception:  # noqa: BLE001 (as uvicorn does)
            if not self.disconnected:
                _log.exception("the endpoint failed")
                self.send_500_response()
        if self._receiver is not None:
            self._let_go()
            return
        self.handshake_complete = True
        if self.close_timer is None:
            self.transport.close()

    def _take_over(
        self,
        receiver: Receiver,
        frame_limit_bytes: int,
        cork: Cork,
        take_binary: Callable[[bytes], None] | None = None,
    ) -> None:
        """From now on the receiver gets the frames. The handshake must have been answered.

        Without ``take_binary`` a binary message ends the connection with 1003.
        """
        self._cork = cork
        self.stop_keepalive()
        self._receiver = receiver
        self._reader = FrameReader(
            frame_limit_bytes, takes_binary=take_binary is not None, idle_frames_limit=CONTROL_FRAMES_PER_S
        )
        self._take_binary = take_binary
        self.transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        if self.disconnected:
            self._receiver = None
            receiver.ended()
        elif self.read_paused or self.conn.reader.buffer:
            self._fail(1002, "frames before the handshake was answered")

    def _let_go(self) -> None:
        """Forget what only the handshake needed: two thirds of a connection's memory."""
        for name in ("scope", "request", "response", "queue", "conn", "app", "app_state", "default_headers", "frames"):
            self.__dict__.pop(name, None)

    # -- asyncio's side -------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        reader = self._reader
        if reader is None:
            if self.handshake_initiated and not self.handshake_complete:
                self.transport.abort()  # frames before the handshake is answered (RFC 6455 section 4.1)
                return
            super().data_received(data)
            if self.conn.handshake_exc is not None and not self.handshake_initiated:
                self._refuse_handshake()
            return
        if len(data) <= READ_BYTES:
            self._read(reader, data)
            return
        at = 0
        while at < len(data):
            # A large frame is not copied again and again.
            size = READ_BYTES + 2 * reader.held_bytes
            self._read(reader, data[at : at + size])
            at += size
            if self._closing:
                reader.stop()
                return

    def _read(self, reader: FrameReader, data: bytes) -> None:
        receiver = self._receiver
        assert receiver is not None
        if self._closing:
            self._after_close_bytes += len(data)
            if self._after_close_bytes > CLOSING_BYTES:
                reader.stop()
        elif reader.idle_frames:
            now = self.loop.time()
            if now - self._counted_since >= 1.0:
                self._counted_since = now
                reader.idle_frames = 0
        for event in reader.feed(data):
            if isinstance(event, Text):
                receiver.receive(event.data)
            elif isinstance(event, PongFrame):
                receiver.heard()
            elif isinstance(event, PingFrame):
                receiver.heard()
                if self.transport.get_write_buffer_size() < PONG_BACKLOG_BYTES:
                    self.transport.write(pong_frame(event.data))
            elif isinstance(event, CloseFrame):
                self._answer_close(event)
            elif isinstance(event, Broken):
                self._fail(event.code, event.reason)
            else:
                assert self._take_binary is not None
                self._take_binary(event.data)

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio.Protocol``."""
        for timer in (self._ender, self._stalled):
            if timer is not None:
                timer.cancel()
        self._ender = self._stalled = None
        receiver, self._receiver = self._receiver, None
        self._corked = None
        if receiver is None:
            super().connection_lost(exc)
            return
        self.connections.discard(self)
        self.disconnected = True
        self.writable.set()
        if self._drained is not None:
            self._drained.set()
        receiver.ended()

    def pause_writing(self) -> None:
        """See ``asyncio.Protocol``."""
        super().pause_writing()
        if self._receiver is not None and self._stalled is None:
            self._stalled = self.loop.call_later(STALLED_TIMEOUT_S, self._end, CloseCode.TOO_SLOW, "too slow to read")

    def resume_writing(self) -> None:
        """See ``asyncio.Protocol``."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
        if self._drained is not None:
            self._drained.set()
            self._drained = None

    def eof_received(self) -> None:
        """The client sends nothing more: nobody keeps half a socket."""
        if self._receiver is not None:
            self._closing = True
            self._finish()

    def shutdown(self) -> None:
        """uvicorn shuts down: whoever is still here goes elsewhere."""
        if self._receiver is None:
            super().shutdown()
        else:
            self._end(CloseCode.SERVICE_RESTART, "draining")

    # -- the gateway's side: ``Transport`` ------------------------------------------------------------------------

    def write(self, burst: Burst, at_once: bool = False) -> int:
        """Write ready frames, at the end of this turn of the loop or ``at_once``."""
        if self._closing:
            return 0
        corked = self._corked
        if at_once:
            transport = self.transport
            if corked is not None:
                self.uncork()
            transport.write(burst.wire)
            return transport.get_write_buffer_size()
        if corked is None:
            assert self._cork is not None
            self._corked = corked = burst.wire
            self._cork.hold(self)
        else:
            self._corked = corked = corked + burst.wire
        if len(corked) > CORK_BYTES:
            self.uncork()
            return self.transport.get_write_buffer_size()
        return self.transport.get_write_buffer_size() + len(corked)

    def uncork(self) -> None:
        """Hand what is held over to the transport."""
        corked = self._corked
        if corked is not None:
            self._corked = None
            self.transport.write(corked)

    hears_pongs = True

    @property
    def backlog_bytes(self) -> int:
        """What the socket has not taken."""
        return self.transport.get_write_buffer_size() + len(self._corked or b"")

    async def drained(self) -> None:
        """Wait until the transport's buffer is below its low-water mark."""
        while not self.writable.is_set() and not self.disconnected:
            if self._drained is None:
                self._drained = asyncio.Event()
            await self._drained.wait()

    def ping(self) -> None:
        """Ask for a sign of life."""
        if not self._closing:
            self.transport.write(PING)

    def close(self, code: CloseCode, reason: str = "") -> None:
        """Send a close frame; the socket is aborted when the client does not answer in time."""
        self._end(code, reason)

    def abort(self) -> None:
        """End the socket now."""
        self._corked = None
        self.transport.abort()

    def pause_reading(self) -> None:
        """Take no more frames for now; TCP holds the client back."""
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Take frames again."""
        if not self.transport.is_closing():
            self.transport.resume_reading()

    # -- the end --------------------------------------------------------------------------------------------------

    def _refuse_handshake(self) -> None:
        """``websockets`` cannot read the request (it has more than 8 KiB in a header, say), and uvicorn would wait."""
        self.handshake_complete = self.close_sent = True
        self.transport.write(_refusal(HTTPStatus.BAD_REQUEST, "the handshake cannot be read").serialize())
        self.transport.close()

    def _answer_close(self, event: CloseFrame) -> None:
        if not self._closing:
            self.uncork()
            self._closing = True
            self.closed_with = event.code or NO_STATUS
            self.transport.write(close_frame(event.code or CloseCode.NORMAL, ""))
        self._finish()

    def _end(self, code: int, reason: str) -> None:
        if self._closing:
            return
        self.uncork()
        self._closing = True
        self.closed_with = code
        if not self.transport.is_closing():
            self.transport.write(close_frame(code, reason))
            # A reader that was paused must go on, or the client's answer would never be seen.
            self.transport.resume_reading()
        self._ender = self.loop.call_later(CLOSE_TIMEOUT_S, self.transport.abort)

    def _fail(self, code: int, reason: str) -> None:
        """What comes cannot be read any more, an answer to the close neither: end the stream."""
        self._end(code, reason)
        if self.transport.can_write_eof() and not self.transport.is_closing():
            self.transport.write_eof()

    def _finish(self) -> None:
        """Both sides have closed: let what is written leave, but do not wait for ever."""
        if self._ender is None:
            self._ender = self.loop.call_later(CLOSE_TIMEOUT_S, self.transport.abort)
        self.transport.close()


def _refusal(status: StatusLike, text: str) -> Response:
    """What is wrong with a handshake, in the place of ``ServerProtocol.reject``."""
    status = HTTPStatus(status)
    body = json.dumps({"error": text.strip(), "code": "malformed" if status < 500 else "internal"}).encode()
    headers = [("Connection", "close"), ("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    return Response(status.value, status.phrase, Headers(headers), body)
