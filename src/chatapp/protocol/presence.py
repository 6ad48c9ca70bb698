"""What replicas tell each other about who is online: changes, in batches, on one topic."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from chatapp.errors import Malformed
from chatapp.protocol.ids import ChatId, UserId

CHATS_PER_CHANGE = 500
"""Chats that a change is told in, at most."""


class Change(Struct, frozen=True, array_like=True, gc=False):
    """Somebody came online or went offline."""

    user_id: UserId
    online: bool
    at: float
    """When Redis found it so, in Unix seconds by its clock: of two changes of a user the later one counts."""
    last_seen: float | None = None
    """Unix seconds, of who went offline."""
    chat_ids: tuple[ChatId, ...] = ()
    """The chats whose followers may know."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Change]).decode


def encode_changes(changes: Sequence[Change]) -> bytes:
    """One bus payload."""
    return _encode(changes)


def decode_changes(payload: bytes) -> list[Change]:
    """The changes of a bus payload. Raises ``Malformed`` where the bytes are not what ``encode_changes`` makes."""
    try:
        return _decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Malformed("these are no changes of presence") from None
