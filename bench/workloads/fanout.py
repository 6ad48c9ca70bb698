"""One room with 500 clients: what a delivery costs, and how long the last of them waits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from bench.generator import BUSY
from bench.results import Curve, Finding, Series, Target, ratios
from bench.rig import Rig, say
from bench.workloads.rooms import Measured, Room, floor_room, service_room

SIZE = 500
WINDOW = 5
_BURSTING = 10
_PER_S = 20.0
_PACED = 120


def one_sender(rig: Rig, rounds: int) -> list[Finding | Curve]:
    """One sender, five messages under way."""
    return [_cost(rig, rounds, "fanout", senders=1, messages=(1000, 1000), target=1.0)]


def bursts(rig: Rig, rounds: int) -> list[Finding | Curve]:
    """Ten senders, five messages of each under way: what is there together leaves together."""
    return [_cost(rig, rounds, "bursts", senders=_BURSTING, messages=(4000, 1000), target=0.3)]


def latency(rig: Rig, rounds: int) -> list[Finding | Curve]:
    """20 messages a second: from sending until the last of 500 has it."""
    with ExitStack() as stack:
        rooms = [stack.enter_context(service_room(rig, SIZE)), stack.enter_context(floor_room(rig, SIZE))]
        service, floor = _interleaved(rooms, rounds, lambda room: room.pace(_PER_S, _PACED))

    def ms(name: str, measured: Sequence[Measured], quantile: str) -> Series:
        return Series(f"{name} {quantile}", "ms", [getattr(m.sent, f"{quantile}_us") / 1000 for m in measured])

    beside = [
        ms(name, measured, quantile)
        for name, measured in (("service", service), ("floor", floor))
        for quantile in ("p50", "p99")
    ]
    return [
        Finding(
            "latency",
            f"p99 from sending to the last of {SIZE}, {_PER_S:.0f} messages/s, over the floor's",
            ratios("p99", [m.sent.p99_us for m in service], [m.sent.p99_us for m in floor]),
            Target("at most", 3.0),
            beside,
        )
    ]


def _cost(rig: Rig, rounds: int, workload: str, *, senders: int, messages: tuple[int, int], target: float) -> Finding:
    with ExitStack() as stack:
        rooms = [stack.enter_context(service_room(rig, SIZE)), stack.enter_context(floor_room(rig, SIZE))]
        counts = dict(zip((room.name for room in rooms), messages, strict=True))
        service, floor = _interleaved(rooms, rounds, lambda room: room.send(senders, WINDOW, counts[room.name]))
    costs = [m.us_per_delivery for m in service], [m.us_per_delivery for m in floor]
    return Finding(
        workload,
        f"CPU per delivery to {SIZE} clients, {senders} sender{'s' * (senders > 1)} with {WINDOW} under way each, "
        "over the floor's",
        ratios("CPU per delivery", *costs),
        Target("at most", target),
        [
            Series("service", "µs", costs[0]),
            Series("floor", "µs", costs[1]),
            Series("service", "deliveries/s", [m.sent.deliveries / m.sent.seconds for m in service]),
            Series("floor", "deliveries/s", [m.sent.deliveries / m.sent.seconds for m in floor]),
            Series("generator busy, with the service", "%", [m.sent.busy * 100 for m in service]),
        ],
        generator_note([m.sent.busy for m in service]),
    )


def _interleaved(rooms: Sequence[Room], rounds: int, measure: Callable[[Room], Measured]) -> list[list[Measured]]:
    """Each room once in each round, in turns; after one that does not count."""
    for room in rooms:
        room.send(1, 1, 100)
    measured: list[list[Measured]] = [[] for _ in rooms]
    for at in range(rounds):
        for room, mine in zip(rooms, measured, strict=True):
            mine.append(measure(room))
            say(
                f"  {at + 1}/{rounds} {room.name}: {mine[-1].us_per_delivery:.2f} µs/delivery, "
                f"p50 {mine[-1].sent.p50_us / 1000:.2f} ms, p99 {mine[-1].sent.p99_us / 1000:.2f} ms"
            )
    return measured


def generator_note(busy: Sequence[float]) -> str:
    """Whether the clients were what limited the throughput."""
    if max(busy) > BUSY:
        return f"The load generator computed for {max(busy):.0%} of the time: the throughput may be its own limit."
    return ""
