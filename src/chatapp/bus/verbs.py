"""The two kinds of pub/sub that Redis has."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from chatapp.bus.slots import slot_of


class Verbs(Struct, frozen=True):
    """The commands to send, and the kinds of what arrives."""

    publish: bytes
    subscribe: bytes
    unsubscribe: bytes
    message: bytes
    group: Callable[[bytes], int]
    """Topics with the same answer may share a command."""

    @property
    def subscribed(self) -> bytes:
        """The kind of the answers to ``subscribe``."""
        return self.subscribe.lower()


def _together(_topic: bytes) -> int:
    return 0


CLASSIC = Verbs(b"PUBLISH", b"SUBSCRIBE", b"UNSUBSCRIBE", b"message", _together)
"""Of one Redis. In a cluster it works too, but each node then gets every message."""
SHARDED = Verbs(b"SPUBLISH", b"SSUBSCRIBE", b"SUNSUBSCRIBE", b"smessage", slot_of)
"""Of a cluster since Redis 7: a topic lives where its slot does, so the load is shared out."""
