"""WebSocket frames from a client, without I/O (RFC 6455 section 5): bytes go in, what they say comes out.

The project's own because it is the hot path and has to bound what hostile clients can make it hold: one message of at
most ``limit_bytes``, in at most ``FRAGMENTS`` pieces. Extensions are not negotiated.
"""

from __future__ import annotations

from msgspec import Struct
from websockets.speedups import apply_mask

from chatapp.protocol.codes import CloseCode

FRAGMENTS = 1024
"""Frames that one message may come in, empty ones included."""

_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_PROTOCOL_ERROR = 1002


class Text(Struct, frozen=True):
    """A whole text message, valid UTF-8."""

    data: bytes


class Binary(Struct, frozen=True):
    """A whole binary message. Only where they are taken."""

    data: bytes


class PingFrame(Struct, frozen=True):
    """To be answered by a pong with the same data."""

    data: bytes


class PongFrame(Struct, frozen=True):
    """A sign of life."""


class CloseFrame(Struct, frozen=True):
    """The client closes. ``code`` is None when it gave none."""

    code: int | None


class Broken(Struct, frozen=True):
    """The client broke the protocol: close with this code. Nothing more is read."""

    code: int
    reason: str


Incoming = Text | Binary | PingFrame | PongFrame | CloseFrame | Broken


class FrameReader:
    """One connection's incoming side. Binary messages are refused with 1003 unless it ``takes_binary``."""

    __slots__ = (
        "_buffer",
        "_ended",
        "_idle_frames_limit",
        "_is_binary",
        "_limit",
        "_message",
        "_pieces",
        "_takes_binary",
        "idle_frames",
    )

    def __init__(self, limit_bytes: int, *, takes_binary: bool = False, idle_frames_limit: int = 1 << 30) -> None:
        self._limit = limit_bytes
        self._takes_binary = takes_binary
        self._is_binary = False
        self._idle_frames_limit = idle_frames_limit
        self.idle_frames = 0
        """Frames that carry no part of a message. The owner sets it back as time goes by; past the limit: 4429."""
        self._buffer = b""
        self._message: bytearray | None = None
        self._pieces = 0
        self._ended = False

    @property
    def is_within_message(self) -> bool:
        """Whether part of a frame or of a fragmented message is here, so that more must follow."""
        return bool(self._buffer) or self._message is not None

    @property
    def held_bytes(self) -> int:
        """How much of a frame is here that is not whole yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Incoming]:
        """What these bytes complete. After ``CloseFrame`` or ``Broken`` everything is ignored."""
        if self._ended:
            return []
        if self._buffer:
            data = self._buffer + data
        events: list[Incoming] = []
        offset, end = 0, len(data)
        while end - offset >= 2:
            first, second = data[offset], data[offset + 1]
            length = second & 0x7F
            at = offset + 2
            if length >= 126:
                size = 2 if length == 126 else 8
                if end - at < size:
                    if (broken := self._check(first, second, length)) is not None:
                        return self._end(events, broken)
                    break
                length = int.from_bytes(data[at : at + size], "big")
                at += size
            if (broken := self._check(first, second, length)) is not None:
                return self._end(events, broken)
            if end - at < 4 + length:
                break
            payload = apply_mask(data[at + 4 : at + 4 + length], data[at : at + 4])
            offset = at + 4 + length
            event = self._frame(first, payload)
            if event is not None:
                events.append(event)
                if isinstance(event, CloseFrame | Broken):
                    self._ended = True
                    self._buffer = b""
                    return events
        self._buffer = data[offset:] if offset < end else b""
        return events

    def stop(self) -> None:
        """Ignore everything from now on."""
        self._ended = True
        self._buffer = b""
        self._message = None

    def _check(self, first: int, second: int, length: int) -> Broken | None:
        """What can be refused from the header, before the payload is here."""
        opcode = first & 0x0F
        if first & 0x70:
            return Broken(_PROTOCOL_ERROR, "reserved bits")
        if not second & 0x80:
            return Broken(_PROTOCOL_ERROR, "not masked")
        if opcode >= _CLOSE:
            if opcode > _PONG:
                return Broken(_PROTOCOL_ERROR, "reserved opcode")
            if not first & 0x80 or length > 125:
                return Broken(_PROTOCOL_ERROR, "a control frame that is fragmented or too long")
            return None
        if opcode > _BINARY:
            return Broken(_PROTOCOL_ERROR, "reserved opcode")
        if opcode == _CONTINUATION:
            if self._message is None:
                return Broken(_PROTOCOL_ERROR, "nothing to continue")
            length += len(self._message)
        elif self._message is not None:
            return Broken(_PROTOCOL_ERROR, "a message within a message")
        if opcode == _BINARY and not self._takes_binary:
            return Broken(CloseCode.UNSUPPORTED, "text frames only")
        if length > self._limit:
            return Broken(CloseCode.TOO_LARGE, "frame too large")
        return None

    def _frame(self, first: int, payload: bytes) -> Incoming | None:
        opcode, final = first & 0x0F, first & 0x80
        if opcode == _TEXT and final:
            return _text(payload)
        if opcode <= _BINARY:
            if self._message is None:
                if final:
                    return Binary(payload)
                self._message = bytearray()
                self._pieces = 0
                self._is_binary = opcode == _BINARY
            self._message += payload
            self._pieces += 1
            if final:
                whole, self._message = bytes(self._message), None
                return Binary(whole) if self._is_binary else _text(whole)
            return Broken(CloseCode.POLICY, "too many fragments") if self._pieces > FRAGMENTS else None
        if opcode == _CLOSE:
            return _close(payload)
        self.idle_frames += 1
        if self.idle_frames > self._idle_frames_limit:
            return Broken(CloseCode.TOO_MANY_ERRORS, "too many control frames")
        return PingFrame(payload) if opcode == _PING else PongFrame()

    def _end(self, events: list[Incoming], broken: Broken) -> list[Incoming]:
        self.stop()
        events.append(broken)
        return events


def _text(payload: bytes) -> Text | Broken:
    if not payload.isascii():
        try:
            payload.decode()
        except UnicodeDecodeError:
            return Broken(CloseCode.NOT_UTF8, "not UTF-8")
    return Text(payload)


def _close(payload: bytes) -> CloseFrame | Broken:
    if not payload:
        return CloseFrame(None)
    code = int.from_bytes(payload[:2], "big")
    is_valid = 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999
    if len(payload) == 1 or not is_valid:
        return Broken(_PROTOCOL_ERROR, "not a close code")
    try:
        payload[2:].decode()
    except UnicodeDecodeError:
        return Broken(CloseCode.NOT_UTF8, "not UTF-8")
    return CloseFrame(code)


def control_frame(opcode: int, payload: bytes) -> bytes:
    """A control frame from the server; ``payload`` up to 125 bytes."""
    return bytes((0x80 | opcode, len(payload))) + payload


def close_frame(code: int, reason: str) -> bytes:
    """A close frame; the reason is cut to what fits."""
    return control_frame(_CLOSE, code.to_bytes(2, "big") + reason.encode()[:123])


PING = control_frame(_PING, b"")


def pong_frame(data: bytes) -> bytes:
    """The answer to a ping."""
    return control_frame(_PONG, data)
