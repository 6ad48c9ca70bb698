"""Several replicas: each pays for its own clients only."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from msgspec import Struct

from bench.generator import Client, Generator
from bench.results import Curve, Finding, Series, Target
from bench.rig import Rig, say
from bench.servers import Server
from bench.workloads.rooms import command
from bench.world import World

COUNTS = (1, 2, 4)
CHATS = 4
CHAT_SIZE = 100
_PER_S = 200.0
_MESSAGES = 1000
_FOREIGN_PER_S = 400.0
_FOREIGN_MESSAGES = 2000
_AT_MOST_US = 5.0


class Cluster(Struct, frozen=True):
    """Replicas, and four chats of 100 spread over them: chat ``i`` is at replica ``i % n``, one sender first."""

    servers: Sequence[Server]
    clients: Generator

    def cpu_s(self) -> list[float]:
        """Of each."""
        return [server.cpu_s() for server in self.servers]


def run(rig: Rig, rounds: int) -> list[Finding | Curve]:
    """Cost of a delivery with 1, 2 and 4 replicas, and what a replica spends on the chats of another."""
    costs: dict[int, list[float]] = {count: [] for count in COUNTS}
    shares: list[float] = []
    foreign: list[float] = []
    for at in range(rounds):
        for count in COUNTS:
            with clustered(rig, count, senders=CHATS) as cluster:
                cluster.clients.send(CHATS, 1, 200)
                before = cluster.cpu_s()
                sent = cluster.clients.pace(CHATS, _PER_S, _MESSAGES)
                each = [now - then for now, then in zip(cluster.cpu_s(), before, strict=True)]
                costs[count].append(sum(each) / sent.deliveries * 1e6)
                if count == max(COUNTS):
                    shares.append(max(each) / sum(each) * count)
            say(f"  {at + 1}/{rounds} {count} replicas: {costs[count][-1]:.2f} µs/delivery")
        foreign.append(_foreign_cost(rig))
        say(f"  {at + 1}/{rounds} a replica spends {foreign[-1]:.2f} µs on a message of another's chat")
    most = max(COUNTS)
    return [
        Finding(
            "replicas",
            "CPU of a replica for a message in a chat that none of its clients follow",
            Series("foreign message", "µs", foreign),
            Target("at most", _AT_MOST_US),
            note=f"What a replica with {CHATS // 2 * CHAT_SIZE} clients computed during {_FOREIGN_MESSAGES:,} messages "
            f"of another replica's chat, {_FOREIGN_PER_S:.0f} a second, less what it computes in the same time when "
            "nobody sends: nothing but noise, below zero too.",
        ),
        Finding(
            "replicas",
            f"CPU per delivery of all replicas together, {most} replicas over 1",
            Series("cost", "x", [b / a for a, b in zip(costs[1], costs[most], strict=True)]),
            None,
            [Series(f"{count} replica{'s' * (count > 1)}", "µs", costs[count]) for count in COUNTS]
            + [Series(f"busiest of {most} over their mean", "x", shares)],
            f"{CHATS} chats of {CHAT_SIZE}, spread over the replicas, which share the cores: each of n "
            f"delivers 1/n of everything. {_PER_S:.0f} messages a second in all, so that nothing is joined.",
        ),
    ]


def _foreign_cost(rig: Rig) -> float:
    """What the second replica computes for each message of the first one's chat, in µs."""
    with clustered(rig, 2, senders=1) as cluster:
        cluster.clients.send(1, 1, 100)
        duration_s = _FOREIGN_MESSAGES / _FOREIGN_PER_S
        before = cluster.servers[1].precise_cpu_s()
        time.sleep(duration_s)
        quiet = cluster.servers[1].precise_cpu_s() - before
        before = cluster.servers[1].precise_cpu_s()
        cluster.clients.pace(1, _FOREIGN_PER_S, _FOREIGN_MESSAGES)
        return (cluster.servers[1].precise_cpu_s() - before - quiet) / _FOREIGN_MESSAGES * 1e6


@contextmanager
def clustered(rig: Rig, count: int, senders: int) -> Iterator[Cluster]:
    """Replicas with their clients. The first ``senders`` clients are one of each chat, in the order of the chats."""

    async def furnish(world: World) -> list[tuple[str, int]]:
        members = []
        chats = []
        for _ in range(CHATS):
            people = await world.people(CHAT_SIZE)
            chats.append(people)
        ids = await world.chats(chats)
        for place in range(CHAT_SIZE):
            members += [(people[place].token, chat_id) for people, chat_id in zip(chats, ids, strict=True)]
        return members

    members = rig.furnish(furnish)
    with ExitStack() as stack:
        servers = [stack.enter_context(rig.replica(rig.cores.both)) for _ in range(count)]
        clients = [
            Client(servers[at % CHATS % count].port, f"/ws?token={token}", CHAT_SIZE, command(chat))
            for at, (token, chat) in enumerate(members)
        ]
        generator = stack.enter_context(rig.clients(clients, rig.cores.both))
        generator.connect()
        yield Cluster(servers, generator)
