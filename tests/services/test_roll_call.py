from __future__ import annotations

from datetime import UTC, datetime, timedelta

from chatapp.bus.echo import EchoBus
from chatapp.bus.memory import MemoryBus, MemoryHub
from chatapp.bus.port import Delivery
from chatapp.protocol.roll_call import Question, ReplicaReport, encode
from chatapp.protocol.topics import ROLL_CALL, roll_answer_topic
from chatapp.services.roll_call import ANSWERS_IN_S, Answering, Asking
from tests.world import RememberingBus

QUESTION = Question("0" * 32)


def report(name: str, ahead_s: float = 0.0) -> ReplicaReport:
    now = datetime.now(UTC)
    return ReplicaReport(name=name, version="1", started_at=now, at=now + timedelta(seconds=ahead_s), epoch="e")


class Listening:
    """A replica's hub, as far as roll calls are concerned."""

    def __init__(self, answering: Answering) -> None:
        self._answering = answering

    def on_deliveries(self, deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            if delivery.topic == ROLL_CALL:
                self._answering.hear(delivery.payload)

    def on_gap(self) -> None: ...


async def test_all_replicas_answer_with_their_clocks() -> None:
    hub = MemoryHub()
    for name, ahead_s in (("two", 5.0), ("one", 0.0)):
        bus = EchoBus(MemoryBus(hub))
        shown = report(name, ahead_s)
        await bus.start(Listening(Answering(bus, lambda shown=shown: shown, lambda: 0.0)))  # type: ignore[arg-type, misc]
        await bus.subscribe([ROLL_CALL])
    asking = Asking(EchoBus(MemoryBus(hub)))
    await asking.start()
    for _ in range(2):
        present = await asking.call(0.05)
        assert [one.report.name for one in present] == ["one", "two"]
        assert present[1].clock_ahead_s > 4


def test_what_is_no_question_is_not_answered() -> None:
    bus = RememberingBus()
    answering = Answering(bus, lambda: report("one"), lambda: 0.0)
    for payload in (
        b"",
        b"\xff",
        b'{"answer_to": "chat:1"}',
        b'{"answer_to": 1}',
        b'{"answer_to": "' + b"g" * 32 + b'"}',
    ):
        answering.hear(payload)
    assert bus.published == []


def test_a_flood_of_questions_is_answered_at_a_bounded_rate() -> None:
    bus, now = RememberingBus(), [0.0]
    answering = Answering(bus, lambda: report("one"), lambda: now[0])
    for _ in range(1000):
        answering.hear(encode(QUESTION))
    assert len(bus.published) == ANSWERS_IN_S
    now[0] = 1.0
    answering.hear(encode(QUESTION))
    assert len(bus.published) == ANSWERS_IN_S + 1
    assert bus.published[-1].topic == roll_answer_topic(QUESTION.answer_to)
