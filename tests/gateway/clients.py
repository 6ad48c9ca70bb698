"""Bytes as clients send them, valid and not, and what the ``websockets`` library makes of them."""

from __future__ import annotations

from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side, State


def masked(opcode: int, payload: bytes = b"", *, fin: bool = True) -> bytes:
    """A frame from a client (RFC 6455 section 5.2)."""
    first = (0x80 if fin else 0) | opcode
    length = len(payload)
    if length < 126:
        header = bytes((first, 0x80 | length))
    elif length < 65536:
        header = bytes((first, 0x80 | 126)) + length.to_bytes(2, "big")
    else:
        header = bytes((first, 0x80 | 127)) + length.to_bytes(8, "big")
    mask = b"\x37\xfa\x21\x3d"  # any will do; the same in every process, for it is part of tests' names
    return header + mask + bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))


def text(payload: str | bytes) -> bytes:
    return masked(0x1, payload.encode() if isinstance(payload, str) else payload)


def close(code: int | None = 1000, reason: bytes = b"") -> bytes:
    return masked(0x8, b"" if code is None else code.to_bytes(2, "big") + reason)


def ping(payload: bytes = b"") -> bytes:
    return masked(0x9, payload)


def pong(payload: bytes = b"") -> bytes:
    return masked(0xA, payload)


def as_the_library_reads(stream: bytes, limit_bytes: int) -> tuple[list[tuple[str, bytes | int | None]], int | None]:
    """The messages and control frames, and the code that it fails the connection with, if it does."""
    protocol = Protocol(Side.SERVER, state=State.OPEN, max_size=limit_bytes)
    protocol.receive_data(stream)
    told: list[tuple[str, bytes | int | None]] = []
    message = b""
    for event in protocol.events_received():
        assert isinstance(event, Frame)
        if event.opcode in (Opcode.TEXT, Opcode.CONT):
            message += bytes(event.data)
            if event.fin:
                told.append(("text", message))
                message = b""
        elif event.opcode is Opcode.PING:
            told.append(("ping", bytes(event.data)))
        elif event.opcode is Opcode.PONG:
            told.append(("pong", None))
        elif event.opcode is Opcode.CLOSE:
            code = None if not event.data else int.from_bytes(bytes(event.data)[:2], "big")
            told.append(("close", code))
    failed = protocol.close_sent.code if protocol.parser_exc is not None and protocol.close_sent is not None else None
    return told, failed
