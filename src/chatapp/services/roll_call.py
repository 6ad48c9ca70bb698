"""Operators' commands ask all replicas at once who they are and how they do; each answers for itself."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from msgspec import Struct

from chatapp.bus.port import Bus, Delivery
from chatapp.errors import Malformed, Unavailable
from chatapp.protocol.roll_call import Question, ReplicaReport, decode_question, decode_report, encode
from chatapp.protocol.topics import ROLL_CALL, roll_answer_topic

ANSWERS_IN_S = 50
"""Roll calls that a replica answers within a second; it takes more for a mistake."""
REPLICAS_MAX = 10_000
_CONNECT_S = 3.0


class Answering:
    """A replica's side. ``hear`` is told what comes on ``ROLL_CALL``."""

    def __init__(self, bus: Bus, report: Callable[[], ReplicaReport], clock: Callable[[], float]) -> None:
        self._bus = bus
        self._report = report
        self._clock = clock
        self._second = 0
        self._answered = 0

    def hear(self, payload: bytes) -> None:
        """Answer; what is no question is dropped."""
        second = int(self._clock())
        if second != self._second:
            self._second, self._answered = second, 0
        if self._answered >= ANSWERS_IN_S:
            return
        self._answered += 1
        try:
            question = decode_question(payload)
        except Malformed:
            return
        self._bus.publish(roll_answer_topic(question.answer_to), encode(self._report()))


class Present(Struct, frozen=True):
    """A replica that answered."""

    report: ReplicaReport
    latency_s: float
    """From the question to the answer."""
    clock_ahead_s: float
    """Of the replica's clock against ours, give or take half of ``latency_s``."""


class Asking:
    """A command's side; a ``BusListener``. The bus is ours alone, and started here: ``start``, then ``call``."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._topic = b""
        self._asked_at = 0.0
        self._asked = datetime.now(UTC)
        self._present: dict[tuple[str, datetime], Present] = {}

    async def start(self) -> None:
        """Connect. Raises ``Unavailable`` when the bus is not there within seconds."""
        await self._bus.start(self)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _CONNECT_S
        while not self._bus.status.connected:
            if loop.time() > deadline:
                raise Unavailable("Redis does not answer")
            await asyncio.sleep(0.01)  # it tells nobody when it is connected

    async def call(self, wait_s: float) -> list[Present]:
        """All replicas that answer within this time, by name. Raises ``Unavailable``."""
        self._present = {}
        question = Question(secrets.token_hex(16))
        topic = roll_answer_topic(question.answer_to)
        if not await self._bus.subscribe([topic]):
            raise Unavailable("Redis does not answer")
        self._topic = topic
        self._asked_at, self._asked = asyncio.get_running_loop().time(), datetime.now(UTC)
        self._bus.publish(ROLL_CALL, encode(question))
        await asyncio.sleep(wait_s)
        await self._bus.unsubscribe([topic])
        return sorted(self._present.values(), key=lambda present: (present.report.name, present.report.started_at))

    def on_deliveries(self, deliveries: Sequence[Delivery]) -> None:
        """See ``BusListener``."""
        latency_s = asyncio.get_running_loop().time() - self._asked_at
        for delivery in deliveries:
            if delivery.topic != self._topic or len(self._present) >= REPLICAS_MAX:
                continue
            try:
                report = decode_report(delivery.payload)
            except Malformed:
                continue
            ahead_s = (report.at - self._asked).total_seconds() - latency_s / 2
            # A payload may come twice.
            self._present.setdefault((report.name, report.started_at), Present(report, latency_s, ahead_s))

    def on_gap(self) -> None:
        """See ``BusListener``. Who does not answer is missing in the list; asking again is easy."""
