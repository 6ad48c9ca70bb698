"""The storage of ``limits`` over whatever Redis is configured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal
from urllib.parse import urlsplit

from limits.aio.storage import RedisClusterStorage, RedisSentinelStorage, RedisStorage
from redis.asyncio.connection import ConnectionPool, SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

TIMEOUT_S = 0.3
"""How long a caller waits for Redis."""
AT_ONCE = 64
"""Questions under way; past it a replica answers by itself."""
PREFIX = "chatapp:limits"


def open_storage(
    mode: Literal["single", "sentinel", "cluster"],
    url: str,
    *,
    nodes: Sequence[tuple[str, int]] = (),
    sentinel_master: str = "mymaster",
) -> RedisStorage:
    """Redis as it is configured for the bus (``bus.opening.open_bus`` says what the arguments mean). Connects later.

    A user and password are offered to Sentinels too: those that want none take any with ``HELLO``, which is how
    redis-py logs in.
    """
    times: dict[str, Any] = {"socket_timeout": TIMEOUT_S, "socket_connect_timeout": TIMEOUT_S}
    ours: dict[str, Any] = {"implementation": "redispy", "key_prefix": PREFIX}
    if mode == "single":
        # A pool of our own: ``limits`` reads addresses more strictly than redis-py (a port is a must).
        once = Retry(NoBackoff(), 0)
        pool: Any = ConnectionPool.from_url(url, retry=once, max_connections=AT_ONCE, **times)
        return RedisStorage("async+redis://", connection_pool=pool, **ours)
    server = _credentials(url)
    if mode == "cluster":
        given = urlsplit(url)
        first = [] if given.hostname is None else [(given.hostname, given.port or 6379)]
        again: Any = Retry(NoBackoff(), 3)  # where a slot has moved; ``TIMEOUT_S`` bounds all of it
        addresses = _addresses("async+redis+cluster", [*first, *nodes])
        return RedisClusterStorage(addresses, retry=again, max_connections=AT_ONCE, **times, **ours, **server)
    never: Any = Retry(NoBackoff(), 0)
    return RedisSentinelStorage(
        _addresses("async+redis+sentinel", nodes),
        service_name=sentinel_master,
        use_replicas=False,
        sentinel_kwargs={**times, **server},
        retry=never,
        max_connections=AT_ONCE,
        **times,
        **ours,
        **server,
    )


def _credentials(url: str) -> dict[str, Any]:
    """How a server lets us in, whatever its host."""
    given: dict[str, Any] = dict(parse_url(url))
    is_tls = given.pop("connection_class", None) is SSLConnection
    for name in ("host", "port", "db", "path"):
        given.pop(name, None)
    return given | ({"ssl": True} if is_tls else {})


def _addresses(scheme: str, nodes: Sequence[tuple[str, int]]) -> str:
    shown = [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in dict.fromkeys(nodes)]
    return f"{scheme}://{','.join(shown)}"
