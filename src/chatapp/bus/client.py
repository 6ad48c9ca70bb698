"""A client for commands to whatever Redis is configured; pub/sub has connections of its own (``opening.py``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

from msgspec import Struct
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import ExponentialWithJitterBackoff

Commands: TypeAlias = Redis | RedisCluster

_CONNECT_TIMEOUT_S = 1.0
_ANSWER_TIMEOUT_S = 1.0
_CONNECTIONS = 4
_NOT_FOR_ALL = ("host", "port", "db", "path", "connection_class")
"""What of a URL holds for its own server alone."""


class RedisClient(Struct, frozen=True):
    """``commands`` is redis-py's; it connects when it is first used."""

    commands: Commands
    sentinels: list[Redis] = []
    """Clients of their own, which that one uses."""

    async def close(self) -> None:
        """Close all connections."""
        for client in (self.commands, *self.sentinels):
            await client.aclose()


def open_client(
    mode: Literal["single", "sentinel", "cluster"],
    url: str,
    *,
    nodes: Sequence[tuple[str, int]] = (),
    sentinel_master: str = "mymaster",
) -> RedisClient:
    """A client; close it. The arguments are those of ``open_bus``.

    A command fails within about 3 s: after one more attempt, each with 1 s for connecting and 1 s for the answer.
    """
    common: dict[str, Any] = {
        "socket_timeout": _ANSWER_TIMEOUT_S,
        "socket_connect_timeout": _CONNECT_TIMEOUT_S,
        "retry": Retry(ExponentialWithJitterBackoff(cap=0.2, base=0.05), 1),
    }
    first: dict[str, Any] = dict(parse_url(url))
    options = {key: value for key, value in first.items() if key not in _NOT_FOR_ALL}
    if url.startswith("rediss:"):
        options["ssl"] = True
    match mode:
        case "single":
            return RedisClient(Redis.from_url(url, max_connections=_CONNECTIONS, **common))
        case "sentinel":
            group = Sentinel(nodes, sentinel_kwargs=options | common)  # type: ignore[no-untyped-call]
            if "password" in options:  # Sentinels that want none refuse one
                open_options = {key: value for key, value in options.items() if key not in ("username", "password")}
                group.sentinels += [Redis(host=host, port=port, **open_options, **common) for host, port in nodes]
            master: Redis = group.master_for(sentinel_master, max_connections=_CONNECTIONS, **options, **common)
            return RedisClient(master, group.sentinels)
        case "cluster":
            places = [(first.get("host", "localhost"), int(first.get("port", 6379))), *nodes]
            return RedisClient(
                RedisCluster(
                    startup_nodes=[ClusterNode(host, port) for host, port in dict.fromkeys(places)],
                    require_full_coverage=False,
                    max_connections=_CONNECTIONS,
                    **options,
                    **common,
                )
            )
