"""1,000 clients in 500 chats of two, all of them sending, every message stored."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
from msgspec import Struct

from bench.generator import Client
from bench.naive import Written
from bench.results import Curve, Finding, Series, Target, ratios
from bench.rig import Rig, say
from bench.servers import Server
from bench.workloads.fanout import generator_note
from bench.workloads.rooms import Measured, Room, command
from bench.world import Person, World, blocks

CLIENTS = 1000
_MESSAGES = 20_000
_NAIVE_S = 3.0
_NAIVE_TIMEOUT_S = 120.0
_AT_LEAST_PER_S = 7000.0
_AT_LEAST_TIMES = 10.0
_AT_MOST_US = 70.0


class Crowd(Struct, frozen=True):
    """Everybody is connected. ``senders``: user and chat of each."""

    room: Room
    senders: Sequence[tuple[int, int]]


def run(rig: Rig, rounds: int) -> list[Finding | Curve]:
    """Messages a second, and what they cost, beside a session and commit for each."""
    measured: list[Measured] = []
    naive: list[Written] = []
    with paired(rig) as crowd:
        crowd.room.send(CLIENTS, 1, _MESSAGES // 4)
        for at in range(rounds):
            measured.append(crowd.room.send(CLIENTS, 1, _MESSAGES))
            naive.append(_write_naively(rig, crowd.senders))
            say(
                f"  {at + 1}/{rounds} {measured[-1].sent.per_s:.0f}/s at {measured[-1].us_per_message:.1f} µs, "
                f"naive {naive[-1].messages / naive[-1].seconds:.0f} at "
                f"{naive[-1].cpu_s / naive[-1].messages * 1e6:.0f} µs"
            )
    per_s = Series("service", "messages/s", [m.sent.per_s for m in measured])
    naive_per_s = Series("session and commit for each", "messages/s", [w.messages / w.seconds for w in naive])
    cost = Series("service", "µs", [m.us_per_message for m in measured])
    naive_cost = Series("session and commit for each", "µs", [w.cpu_s / w.messages * 1e6 for w in naive])
    latencies = [
        Series(f"to both, {q}", "ms", [getattr(m.sent, f"{q}_us") / 1000 for m in measured]) for q in ("p50", "p99")
    ]
    busy = Series("generator busy", "%", [m.sent.busy * 100 for m in measured])
    where = f"{CLIENTS:,} clients in chats of two, one message under way each"
    shared = "PostgreSQL, Redis, the service and the generator share the cores. "
    return [
        Finding(
            "pairs",
            f"Messages a second, {where}",
            per_s,
            Target("at least", _AT_LEAST_PER_S),
            [*latencies, busy],
            shared + generator_note([m.sent.busy for m in measured]),
        ),
        Finding(
            "pairs",
            "The same, over a session and a commit for each message",
            ratios("messages/s", per_s.values, naive_per_s.values),
            Target("at least", _AT_LEAST_TIMES),
            [naive_per_s, naive_cost],
            f"The other is the write alone, without sockets or publishing: {CLIENTS:,} concurrent senders that loop "
            "over SQLAlchemy's AsyncSession (bench/naive.py).",
        ),
        Finding("pairs", "Application CPU per message, both deliveries included", cost, Target("at most", _AT_MOST_US)),
    ]


@contextmanager
def paired(rig: Rig) -> Iterator[Crowd]:
    """1,000 clients in chats of two, on the same two cores as all the servers."""

    async def furnish(world: World) -> list[tuple[Person, int]]:
        people = await world.people(CLIENTS)
        chats = await world.chats(blocks(people, 2, 1))
        return [(person, chats[at // 2]) for at, person in enumerate(people)]

    everybody = rig.furnish(furnish)
    with rig.replica(rig.cores.both) as server:
        clients = [client(server, person, chat) for person, chat in everybody]
        with rig.clients(clients, rig.cores.both) as generator:
            generator.connect()
            yield Crowd(Room("service", server, generator), [(person.user_id, chat) for person, chat in everybody])


def client(server: Server, person: Person, chat: int) -> Client:
    """One of a pair."""
    return Client(server.port, f"/ws?token={person.token}", 2, command(chat))


def _write_naively(rig: Rig, senders: Sequence[tuple[int, int]]) -> Written:
    finished = subprocess.run(
        [sys.executable, "-m", "bench.naive", rig.database_url, str(_NAIVE_S)],
        input=msgspec.json.encode(senders),
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        timeout=_NAIVE_TIMEOUT_S,
        check=True,
    )
    return msgspec.json.decode(finished.stdout, type=Written)
