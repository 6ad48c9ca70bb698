"""Many connections: what an idle one holds, and what it costs when thousands come at once."""

from __future__ import annotations

import time
from collections.abc import Sequence

from msgspec import Struct

from bench.generator import Client
from bench.results import Curve, Finding, Series, Target
from bench.rig import Rig, say
from bench.workloads.rooms import command
from bench.world import Person, World, blocks

IDLE = 10_000
IDLE_CHATS = 20
STORM = 5_000
STORM_CHATS = 5
CHAT_SIZE = 20
_SETTLE_S = 2.0
_AT_ONCE = 2_000
"""Handshakes under way: a listening socket keeps 4,096 at most, whoever comes then waits for TCP's own retry."""


class Arrival(Struct, frozen=True):
    """What became of a crowd that connected to a fresh replica."""

    count: int
    seconds: float
    server_cpu_s: float
    generator_busy: float
    grown_bytes: int
    returned: int


def idle(rig: Rig, rounds: int) -> list[Finding | Curve]:
    """Memory of idle connections."""
    people = crowd(rig, IDLE, IDLE_CHATS)
    kib: list[float] = []
    for at in range(rounds):
        arrival = arrive(rig, people, in_flight=256)
        kib.append(arrival.grown_bytes / arrival.count / 1024)
        say(f"  {at + 1}/{rounds} {kib[-1]:.1f} KiB a connection")
    return [
        Finding(
            "idle",
            f"Memory of an idle connection: {IDLE:,} of them, each following {IDLE_CHATS} chats",
            Series("memory", "KiB", kib),
            Target("at most", 12.0),
            note=f"What the process's resident memory grew by, over {IDLE:,}; it contains the {IDLE:,} rooms, of "
            f"{CHAT_SIZE} members each.",
        )
    ]


def storm(rig: Rig, rounds: int) -> list[Finding | Curve]:
    """Connects of one core."""
    people = crowd(rig, STORM, STORM_CHATS)
    arrivals: list[Arrival] = []
    for at in range(rounds):
        arrivals.append(arrive(rig, people, in_flight=_AT_ONCE))
        say(f"  {at + 1}/{rounds} {arrivals[-1].count / arrivals[-1].server_cpu_s:.0f} connects/s of a core")
    return [
        Finding(
            "storm",
            f"{STORM:,} connects at once to a fresh replica, {STORM_CHATS} chats each, per second of its CPU",
            Series("connects", "1/s per core", [a.count / a.server_cpu_s for a in arrivals]),
            Target("at least", 1200.0),
            [
                Series("all are there after", "s", [a.seconds for a in arrivals]),
                Series("handshakes sent away and back", "", [a.returned for a in arrivals]),
                Series("generator busy", "%", [a.generator_busy * 100 for a in arrivals]),
            ],
            "From the first SYN until everybody has its `ready`. No token has been seen before, and no room was open. "
            "Who is answered with 503 comes back when Retry-After says, and counts once.",
        )
    ]


def crowd(rig: Rig, count: int, chats_each: int) -> Sequence[Person]:
    """So many people, each in so many chats of 20."""

    async def furnish(world: World) -> Sequence[Person]:
        people = await world.people(count)
        await world.chats(blocks(people, CHAT_SIZE, chats_each))
        return people

    return rig.furnish(furnish)


def arrive(rig: Rig, people: Sequence[Person], in_flight: int) -> Arrival:
    """Connect everybody to a replica that has just started."""
    with rig.replica(CHATAPP_LIMITS__CONNECTIONS="20000") as server:
        clients = [Client(server.port, f"/ws?token={person.token}", 1, command(1)) for person in people]
        with rig.clients(clients) as generator:
            time.sleep(_SETTLE_S)
            rss, cpu = server.rss_bytes(), server.cpu_s()
            connected = generator.connect(in_flight)
            cpu = server.cpu_s() - cpu
            time.sleep(_SETTLE_S)
            return Arrival(
                connected.connected,
                connected.seconds,
                cpu,
                connected.cpu_s / connected.seconds,
                server.rss_bytes() - rss,
                connected.returned,
            )
