"""How it grows: with the size of a room, the chats of a connection, and the messages a second."""

from __future__ import annotations

from bench.results import Curve, Finding, Line, Point
from bench.rig import Rig, say
from bench.workloads.connections import arrive, crowd
from bench.workloads.pairs import CLIENTS, paired
from bench.workloads.rooms import floor_room, service_room

ROOM_SIZES = (10, 30, 100, 300, 1000, 2000)
CHATS_EACH = (1, 5, 20, 50, 100, 200)
RATES = (500, 1000, 2000, 3000, 4000, 5000, 6000, 7000, 8000, 10_000)
_DELIVERIES = 300_000
_CONNECTIONS = 1000
_PACED_S = 3.0
_WALL_MS = 250.0
_ROUNDS = 3
"""At most: a curve has enough points to show what is chance."""


def room_size(rig: Rig, rounds: int) -> list[Finding | Curve]:
    """CPU per delivery, one sender with five under way."""
    service: list[Point] = []
    floor: list[Point] = []
    for size in ROOM_SIZES:
        messages = min(4000, _DELIVERIES // size)
        with service_room(rig, size) as room, floor_room(rig, size) as below:
            room.send(1, 5, 100)
            below.send(1, 5, 100)
            values = [(room.send(1, 5, messages), below.send(1, 5, messages)) for _ in range(min(rounds, _ROUNDS))]
        service.append(Point(size, [mine.us_per_delivery for mine, _ in values]))
        floor.append(Point(size, [its.us_per_delivery for _, its in values]))
        say(f"  room of {size}: {service[-1].median:.2f} µs/delivery, floor {floor[-1].median:.2f}")
    return [
        Curve(
            "grow-room",
            "What a delivery costs in rooms of different sizes",
            "clients in the room",
            "µs of CPU per delivery",
            [Line("service", service), Line("floor: one send() each", floor)],
            "In a small room what a message costs once (parsing, storing, publishing) falls on few deliveries.",
        )
    ]


def chats_per_connection(rig: Rig, rounds: int) -> list[Finding | Curve]:
    """What a connect costs and what a connection holds."""
    cost: list[Point] = []
    memory: list[Point] = []
    for chats in CHATS_EACH:
        people = crowd(rig, _CONNECTIONS, chats)
        arrivals = [arrive(rig, people, in_flight=256) for _ in range(min(rounds, _ROUNDS))]
        cost.append(Point(chats, [a.server_cpu_s / a.count * 1e6 for a in arrivals]))
        memory.append(Point(chats, [a.grown_bytes / a.count / 1024 for a in arrivals]))
        say(f"  {chats} chats: {cost[-1].median:.0f} µs/connect, {memory[-1].median:.1f} KiB")
    note = f"{_CONNECTIONS:,} connections, in chats of 20 that nobody followed before."
    return [
        Curve(
            "grow-chats-cpu",
            "What a connect costs, by the chats that it follows",
            "chats of a connection",
            "µs of CPU per connect",
            [Line("service", cost)],
            note,
        ),
        Curve(
            "grow-chats-memory",
            "What an idle connection holds, by the chats that it follows",
            "chats of a connection",
            "KiB per connection",
            [Line("service", memory)],
            note,
        ),
    ]


def messages_per_second(rig: Rig, rounds: int) -> list[Finding | Curve]:
    """Latency and load at growing rates, up to where it does not keep up."""
    latencies: dict[str, list[Point]] = {"p50": [], "p99": []}
    load: list[Point] = []
    wall = 0
    with paired(rig) as crowded:
        room = crowded.room
        room.send(CLIENTS, 1, 5000)
        for rate in RATES:
            cpu: list[float] = []
            sents = []
            for _ in range(min(rounds, _ROUNDS)):
                before = room.server.cpu_s()
                sents.append(room.clients.pace(CLIENTS, rate, int(rate * _PACED_S), strict=False))
                cpu.append((room.server.cpu_s() - before) / sents[-1].seconds * 100)
            for quantile, points in latencies.items():
                points.append(Point(rate, [getattr(sent, f"{quantile}_us") / 1000 for sent in sents]))
            load.append(Point(rate, cpu))
            p99 = latencies["p99"][-1].median
            say(f"  {rate}/s: p50 {latencies['p50'][-1].median:.1f} ms, p99 {p99:.1f} ms, CPU {load[-1].median:.0f} %")
            if p99 > _WALL_MS:
                wall = rate
                break
    where = (
        f"At {wall:,} messages/s the last of a hundred waits longer than {_WALL_MS:.0f} ms: the first wall. "
        f"The service's process computed for {load[-1].median:.0f} % of a core then."
        if wall
        else f"No wall up to {RATES[-1]:,} messages/s."
    )
    return [
        Curve(
            "grow-rate-latency",
            "How long a message takes to both, at growing rates",
            "messages a second, 1,000 clients in chats of two, stored",
            "ms",
            [Line(quantile, points) for quantile, points in latencies.items()],
            where,
        ),
        Curve(
            "grow-rate-cpu",
            "What the service computes, at growing rates",
            "messages a second, 1,000 clients in chats of two, stored",
            "% of a core",
            [Line("service", load)],
            "PostgreSQL, Redis and the generator share the two cores with it.",
        ),
    ]
