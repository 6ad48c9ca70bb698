"""The bus over whatever Redis is configured: the one function that the composition root calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from chatapp.bus.cluster import ClusterBus
from chatapp.bus.limits import RedisBusLimits
from chatapp.bus.redis import RedisBus
from chatapp.bus.resp import Endpoint

AnyRedisBus: TypeAlias = RedisBus | ClusterBus


def open_bus(
    mode: Literal["single", "sentinel", "cluster"],
    url: str,
    *,
    nodes: Sequence[tuple[str, int]] = (),
    sentinel_master: str = "mymaster",
    limits: RedisBusLimits | None = None,
) -> AnyRedisBus:
    """A bus that is not started yet. Raises ``ValueError``, which does not quote it, when ``url`` is none of a Redis.

    ``url`` is the server of mode ``single``, and a node of the cluster among ``nodes``. In every mode its user,
    password and TLS let us in at all servers; at the Sentinels too, unless they want no password. ``nodes`` are hosts
    and ports: the Sentinels, or nodes of the cluster.
    """
    server = Endpoint.from_url(url)
    others = [server.at(host, port) for host, port in nodes]
    match mode:
        case "single":
            return RedisBus.from_url(url, limits)
        case "sentinel":
            return RedisBus.from_sentinels(others, sentinel_master, server, limits)
        case "cluster":
            return ClusterBus([server, *(node for node in others if node != server)], limits)
