"""What operators' commands ask of all replicas at once over the bus, and what each of them answers."""

from __future__ import annotations

from datetime import datetime

import msgspec
from msgspec import Struct

from chatapp.errors import Malformed

_ANSWER_LIMIT_BYTES = 65536


class Question(Struct, frozen=True):
    """Who is there? Answered on ``roll_answer_topic(answer_to)``."""

    answer_to: str
    """Random, 32 hex digits."""

    def __post_init__(self) -> None:
        if len(self.answer_to) != 32 or not set(self.answer_to) <= set("0123456789abcdef"):
            raise ValueError("not 32 hex digits")


class Spread(Struct, frozen=True):
    """Latencies in buckets, counted from the start of the replica."""

    bounds_s: tuple[float, ...]
    """Upper bounds, ascending."""
    counts: tuple[int, ...]
    """One for each bound and one for the rest; not cumulative."""


class ReplicaReport(Struct, frozen=True, kw_only=True):
    """One replica. Counters grow from ``started_at``. Fields may be added; each has a default for replicas without."""

    name: str
    version: str
    started_at: datetime
    at: datetime
    """By the replica's clock, when it answered."""
    epoch: str
    """Replicas whose epochs differ for longer than a minute do not use the same database."""
    draining: bool = False
    key_ids: tuple[str, ...] = ()
    """Fingerprints of the keys whose tokens it takes, that of the signing one first."""
    bus_connected: bool = False
    pool_connections: int = 0
    """The most that it opens to PostgreSQL's primary."""
    connections_limit: int = 0
    open_files_limit: int | None = None
    """Of its process; None when there is none."""
    connections: int = 0
    users: int = 0
    rooms: int = 0
    sends_waiting: int = 0
    """Messages that wait to be stored."""
    loop_lag_s: float = 0.0
    """The latest that its event loop was in the last 15 to 30 seconds."""
    messages_stored: int = 0
    events_delivered: int = 0
    gaps_found: int = 0
    slow_readers_dropped: int = 0
    ack: Spread | None = None
    """From the reading of a message from its socket to its ack."""
    delivery: Spread | None = None
    """From the commit of a message to its being handed to the sockets here."""


def encode(message: Question | ReplicaReport) -> bytes:
    """As it travels."""
    return msgspec.json.encode(message)


def decode_question(payload: bytes) -> Question:
    """Raises ``Malformed``."""
    try:
        return msgspec.json.decode(payload, type=Question)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Malformed("not a roll call") from None


def decode_report(payload: bytes) -> ReplicaReport:
    """Raises ``Malformed``, also when it is longer than any replica's."""
    try:
        if len(payload) > _ANSWER_LIMIT_BYTES:
            raise Malformed("too long for an answer to a roll call")
        return msgspec.json.decode(payload, type=ReplicaReport)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Malformed("not an answer to a roll call") from None
