"""Many connections: what an idle one holds, and what it costs when thousands come, or come back, at once."""

from __future__ import annotations

import time
from collections.abc import Sequence

from msgspec import Struct

from bench.generator import Client
from bench.results import Curve, Finding, Series, Target
from bench.rig import Rig, say
from bench.workloads.rooms import command
from bench.world import World, blocks

IDLE = 10_000
IDLE_CHATS = 20
STORM = 5_000
STORM_CHATS = 5
CHAT_SIZE = 20
_SETTLE_S = 2.0
_AT_ONCE = 2_000
"""Handshakes under way: a listening socket keeps 4,096 at most, whoever comes then waits for TCP's own retry."""


class Comer(Struct, frozen=True):
    """Somebody who will connect, and their chats."""

    token: str
    chats: list[int]


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


def comeback(rig: Rig, rounds: int) -> list[Finding | Curve]:
    """Resuming connects beside plain ones."""
    people = crowd(rig, STORM, STORM_CHATS)
    ratios: list[float] = []
    rates: list[float] = []
    seconds: list[float] = []
    for at in range(rounds):
        plain = arrive(rig, people, in_flight=_AT_ONCE)
        back = arrive(rig, people, in_flight=_AT_ONCE, resuming=True)
        ratios.append((back.server_cpu_s / back.count) / (plain.server_cpu_s / plain.count))
        rates.append(back.count / back.server_cpu_s)
        seconds.append(back.seconds)
        say(f"  {at + 1}/{rounds} {ratios[-1]:.2f} times a plain connect, {rates[-1]:.0f}/s of a core")
    return [
        Finding(
            "comeback",
            f"{STORM:,} clients come back at once and resume their {STORM_CHATS} chats, CPU against connecting anew",
            Series("CPU of a resuming connect", "x", ratios),
            None,
            [Series("resuming connects", "1/s per core", rates), Series("all are there after", "s", seconds)],
            "As after a replica was killed: nothing was missed. Each waits for `ready` and the ack of every chat.",
        )
    ]


def crowd(rig: Rig, count: int, chats_each: int) -> Sequence[Comer]:
    """So many people, each in so many chats of 20."""

    async def furnish(world: World) -> Sequence[Comer]:
        people = await world.people(count)
        ids = await world.chats(blocks(people, CHAT_SIZE, chats_each))
        chats = [ids[at : at + chats_each] for at in range(0, len(ids), chats_each)]
        return [Comer(person.token, chats[at // CHAT_SIZE]) for at, person in enumerate(people)]

    return rig.furnish(furnish)


def arrive(rig: Rig, people: Sequence[Comer], in_flight: int, *, resuming: bool = False) -> Arrival:
    """Connect everybody to a replica that has just started. ``resuming``: until each chat's resume is acked."""
    frames = 1 + max(len(person.chats) for person in people) if resuming else 1
    with rig.replica(CHATAPP_LIMITS__CONNECTIONS="20000") as server:
        clients = [Client(server.port, _address(person, resuming=resuming), 1, command(1)) for person in people]
        with rig.clients(clients) as generator:
            time.sleep(_SETTLE_S)
            rss, cpu = server.rss_bytes(), server.cpu_s()
            connected = generator.connect(in_flight, frames)
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


def _address(person: Comer, *, resuming: bool) -> str:
    resume = ",".join(f"{chat_id}:0" for chat_id in person.chats)
    return f"/ws?token={person.token}" + (f"&follow=none&resume={resume}" if resuming else "")
