"""The clients: one ``load`` process, told what to do line by line (see ``load.c``)."""

from __future__ import annotations

import selectors
import subprocess
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from bench.machine import pinned

_ANSWER_TIMEOUT_S = 600.0
BUSY = 0.9
"""A generator that computes for more than this share of a run may be what limits it."""


class Client(Struct, frozen=True):
    """A connection to be. ``text`` is what it sends, with ``@@@@@@@@`` between two ``#`` for the message's number."""

    port: int
    path: str
    deliveries: int
    """How many connections hear one of its messages, itself included."""
    text: str


class Connected(Struct, frozen=True):
    """All connections are open, or were refused."""

    connected: int
    refused: int
    returned: int
    """Handshakes that were answered with 503; each came back when it was told to."""
    seconds: float
    cpu_s: float
    error: str


class Sent(Struct, frozen=True):
    """What became of the messages of one command. ``cpu_s`` is the generator's own."""

    messages: int
    finished: int
    deliveries: int
    expected: int
    acks: int
    errors: int
    gone: int
    bytes: int
    seconds: float
    cpu_s: float
    p50_us: int
    p90_us: int
    p99_us: int
    max_us: int

    @property
    def per_s(self) -> float:
        """Messages a second."""
        return self.finished / self.seconds

    @property
    def busy(self) -> float:
        """The share of the time in which the generator computed."""
        return self.cpu_s / self.seconds if self.seconds else 0.0


class LoadFailed(Exception):
    """Connections were refused, or messages did not arrive: there is nothing to measure."""


class Generator:
    """A running ``load``. Every method raises ``LoadFailed`` when not everything that was sent arrived everywhere."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._selector = selectors.DefaultSelector()
        assert process.stdout is not None
        self._selector.register(process.stdout, selectors.EVENT_READ)

    def connect(self, in_flight: int = 256, frames: int = 1) -> Connected:
        """Open all connections, ``in_flight`` at a time; each is there once it was told ``frames`` frames."""
        connected = msgspec.json.decode(self._ask(f"connect {in_flight} {frames}"), type=Connected)
        if connected.refused:
            raise LoadFailed(f"{connected.refused} connections were refused: {connected.error}")
        return connected

    def send(self, senders: int, window: int, messages: int, done: Literal["all", "ack"] = "all") -> Sent:
        """As fast as ``window`` messages under way for each sender allow."""
        return self._complete(self._ask(f"send {senders} {window} {messages} {done}"))

    def pace(self, senders: int, per_s: float, messages: int, *, strict: bool = True) -> Sent:
        """At this rate, the senders taking turns. Not ``strict``: what does not arrive is the caller's to see."""
        return self._complete(self._ask(f"pace {senders} {per_s} {messages}"), strict=strict)

    def _complete(self, answer: bytes, *, strict: bool = True) -> Sent:
        sent = msgspec.json.decode(answer, type=Sent)
        if strict and (sent.deliveries != sent.expected or sent.errors or sent.gone):
            raise LoadFailed(
                f"{sent.deliveries} of {sent.expected} deliveries came, with {sent.errors} errors and {sent.gone} "
                "connections lost"
            )
        return sent

    def _ask(self, line: str) -> bytes:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()
        if not self._selector.select(_ANSWER_TIMEOUT_S):
            raise LoadFailed(f"the load generator did not answer within {_ANSWER_TIMEOUT_S:.0f} s: {line}")
        answer: bytes = self._process.stdout.readline()
        if not answer:
            raise LoadFailed(f"the load generator ended: {line}")
        return answer


@contextmanager
def generating(program: Path, clients: Sequence[Client], cores: Collection[int]) -> Iterator[Generator]:
    """Run the clients on these cores; they are connected by ``Generator.connect`` and gone after this block."""
    with tempfile.NamedTemporaryFile("w", prefix="chatapp-load-") as listed:
        for client in clients:
            listed.write(f"{client.port}\t{client.path}\t{client.deliveries}\t{client.text}\n")
        listed.flush()
        with pinned(cores):
            process = subprocess.Popen(
                [program, listed.name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
            )
        with process:
            try:
                yield Generator(process)
            finally:
                process.kill()
