"""Which node of a cluster owns which slots, as the nodes themselves say."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from msgspec import Struct

from chatapp.bus.majority import ask_majority
from chatapp.bus.resp import Endpoint, Reply, connect
from chatapp.bus.slots import SLOTS


class Topology(Struct, frozen=True):
    """One node's view of the cluster."""

    owners: tuple[Endpoint | None, ...]
    """The master of each slot; None where there is none, or its address is not known."""
    nodes: frozenset[Endpoint]
    """All of them, replicas too."""
    is_serving: bool
    """The node takes the cluster for whole: it sees most masters, and (unless configured otherwise) all slots."""
    epoch: int
    """It rises with each failover and each slot that moves: of two views, the higher one is newer."""


async def find_topology(candidates: Sequence[Endpoint], *, timeout_s: float) -> Topology | None:
    """The newest view among the candidates' (of equals the first), or None when there is no cluster that serves."""
    views = await ask_majority([_ask(candidate, timeout_s) for candidate in candidates])
    return max((view for view in views if view.is_serving), key=lambda view: view.epoch, default=None)


async def _ask(node: Endpoint, timeout_s: float) -> Topology:
    connection = await connect(node, name=b"chatapp-topology", timeout_s=timeout_s)
    try:
        async with asyncio.timeout(timeout_s):
            info, slots = await connection.ask([(b"CLUSTER", b"INFO"), (b"CLUSTER", b"SLOTS")])
    finally:
        connection.abort()
    return read_topology(info, slots, node)


def read_topology(info: Reply, slots: Reply, asked: Endpoint) -> Topology:
    """From the answers to ``CLUSTER INFO`` and ``CLUSTER SLOTS`` of the node ``asked``. Raises ``ValueError``."""
    if not isinstance(info, bytes) or not isinstance(slots, list):
        raise ValueError(f"{asked} is no node of a cluster: {str(slots)[:100]}")  # noqa: TRY004 - what it is, is right
    facts = dict(line.split(":", 1) for line in info.decode().splitlines() if ":" in line)
    owners: list[Endpoint | None] = [None] * SLOTS
    nodes: set[Endpoint] = set()
    for first, last, master, *replicas in slots:
        owner = _address(master, asked)
        owners[first : last + 1] = [owner] * (last + 1 - first)
        nodes.update(node for node in (owner, *(_address(replica, asked) for replica in replicas)) if node is not None)
    return Topology(
        owners=tuple(owners),
        nodes=frozenset(nodes),
        is_serving=facts.get("cluster_state") == "ok",
        epoch=int(facts.get("cluster_current_epoch", 0)),
    )


def _address(node: list[object], asked: Endpoint) -> Endpoint | None:
    """Without a host it is the one that was asked; a question mark stands for a name that nobody configured."""
    host, port = node[0], node[1]
    if not isinstance(port, int) or host == b"?":
        return None
    return asked.at(host.decode() if isinstance(host, bytes) and host else asked.host, port)
