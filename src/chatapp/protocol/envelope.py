"""What travels on a topic: envelopes, each a small fixed header before the finished JSON of the clients' frames.

A room needs only the header (kind, chat, position); it never parses the JSON behind it. One bus payload holds the
envelopes of one commit for one topic, one after the other, in their order.

Layout of one envelope, big-endian: kind (1 byte), chat id (8), position (8), subject (8), length of the body (4), body.
The body is the frames' JSON texts, separated by line breaks (JSON text that we encode holds none).

The trace of an envelope that is traced stands in a record of its own before it, with the same header and the kind
``_TRACE``, which is no ``Kind``: replicas that do not know it skip it, as every kind of a newer version.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from enum import IntEnum

from msgspec import Struct

from chatapp.errors import Malformed
from chatapp.protocol.ids import ChatId, Seq, UserId

_HEADER = struct.Struct(">BQQQI")
_NOBODY = UserId(0)
_TRACE = 128
_TRACE_BYTES = 64
"""A longer trace is not taken."""


class Kind(IntEnum):
    """What a room has to do with an envelope."""

    LASTING = 1
    """Has a position: delivered once, in order."""
    REMOVED = 2
    """As LASTING; after hearing it, the connections of ``subject`` hear no more of the chat."""
    CHAT_DELETED = 3
    """No position. Everybody hears it and then no more of the chat."""
    PASSING = 4
    """No position; delivered when it comes or not at all. Not told to ``subject``."""
    JOINED = 5
    """On a user's topic: ``subject`` became a member at ``position`` and hears everything from there on."""


class Envelope(Struct, frozen=True):
    """One event on its way."""

    kind: Kind
    chat_id: ChatId
    position: Seq
    frames: tuple[bytes, ...]
    subject: UserId = _NOBODY
    trace: bytes = b""
    """The trace that it belongs to, where it is traced and sampled: opaque, and never shown to clients."""

    @property
    def has_position(self) -> bool:
        """Whether it takes part in the chat's order."""
        return self.kind <= Kind.REMOVED


def pack(envelopes: Iterable[Envelope]) -> bytes:
    """One bus payload."""
    parts: list[bytes] = []
    for envelope in envelopes:
        body = b"\n".join(envelope.frames)
        if envelope.trace:
            parts.append(_HEADER.pack(_TRACE, envelope.chat_id, envelope.position, 0, len(envelope.trace)))
            parts.append(envelope.trace)
        parts.append(_HEADER.pack(envelope.kind, envelope.chat_id, envelope.position, envelope.subject, len(body)))
        parts.append(body)
    return b"".join(parts)


def unpack(payload: bytes) -> Iterator[Envelope]:
    """The envelopes of a bus payload.

    Raises ``Malformed`` where the bytes are not what ``pack`` makes: whoever can publish to Redis must not be able
    to stop a replica.
    """
    offset, end = 0, len(payload)
    trace = b""
    while offset < end:
        if end - offset < _HEADER.size:
            raise Malformed("an envelope ends within its header")
        kind, chat_id, position, subject, length = _HEADER.unpack_from(payload, offset)
        offset += _HEADER.size
        body = payload[offset : offset + length]
        if len(body) != length:
            raise Malformed("an envelope ends within its body")
        offset += length
        try:
            known = Kind(kind)
        except ValueError:
            trace = body if kind == _TRACE and length <= _TRACE_BYTES else b""
            continue  # of a newer version: a rollout mixes them
        yield Envelope(known, ChatId(chat_id), Seq(position), tuple(body.split(b"\n")), UserId(subject), trace)
        trace = b""
