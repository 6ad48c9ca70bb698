"""A look at each server of the configured Redis, for people: whether it answers, how fast, and what it is."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from chatapp.bus.resp import Endpoint, Refused, RespConnection, connect
from chatapp.bus.topology import find_topology

NAME = b"chatapp-inspection"
_TIMEOUT_S = 2.0
_NODES_MAX = 200


class NodeReport(Struct, frozen=True):
    """One server."""

    address: str
    kind: Literal["server", "sentinel", "cluster node"]
    latency_s: float | None = None
    """Of a ``PING``; None when it did not answer."""
    version: str | None = None
    """Such as ``valkey 9.1.2``; None where our user may not ask."""
    role: str | None = None
    """``master`` or ``slave``; None where our user may not ask, and of Sentinels."""
    problem: str = ""


async def inspect_nodes(
    mode: Literal["single", "sentinel", "cluster"], url: str, nodes: Sequence[tuple[str, int]]
) -> list[NodeReport]:
    """All servers that the settings name; of a cluster all nodes that it has. Takes some seconds at most.

    Raises ``ValueError`` when ``url`` is none of a Redis.
    """
    server = Endpoint.from_url(url)
    others = [server.at(host, port) for host, port in nodes]
    match mode:
        case "single":
            return [await _look(server, "server")]
        case "sentinel":
            return list(await asyncio.gather(*(_look(sentinel, "sentinel") for sentinel in others)))
        case "cluster":
            known = [server, *(node for node in others if node != server)]
            topology = await find_topology(known, timeout_s=_TIMEOUT_S)
            found = known if topology is None else sorted(topology.nodes, key=str)
            return list(await asyncio.gather(*(_look(node, "cluster node") for node in found[:_NODES_MAX])))


async def _look(endpoint: Endpoint, kind: Literal["server", "sentinel", "cluster node"]) -> NodeReport:
    try:
        connection = await connect(endpoint, name=NAME, timeout_s=_TIMEOUT_S)
    except Refused as refused:
        if kind == "sentinel" and endpoint.password is not None:  # it may want none, though the servers do
            return await _look(Endpoint(endpoint.host, endpoint.port, tls=endpoint.tls), kind)
        return NodeReport(str(endpoint), kind, problem=str(refused))
    except OSError as error:
        return NodeReport(str(endpoint), kind, problem=str(error) or "no answer in time")
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            return await _ask(connection, endpoint, kind)
    except OSError as error:
        return NodeReport(str(endpoint), kind, problem=str(error) or "no answer in time")
    finally:
        connection.abort()


async def _ask(
    connection: RespConnection, endpoint: Endpoint, kind: Literal["server", "sentinel", "cluster node"]
) -> NodeReport:
    clock = asyncio.get_running_loop().time
    began = clock()
    await connection.ask([(b"PING",)])
    latency_s = clock() - began
    server, role = await connection.ask([(b"INFO", b"server"), (b"ROLE",)])
    version: str | None = None
    if isinstance(server, bytes):
        facts = dict(line.split(":", 1) for line in server.decode("utf-8", "replace").splitlines() if ":" in line)
        product = facts.get("server_name", "redis")
        version = f"{product} {facts.get(f'{product}_version') or facts.get('redis_version', '?')}"
    is_named = isinstance(role, list) and bool(role) and isinstance(role[0], bytes) and kind != "sentinel"
    return NodeReport(
        str(endpoint), kind, latency_s, version, role[0].decode() if is_named and isinstance(role, list) else None
    )
