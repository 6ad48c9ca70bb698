"""Finding the server among several hosts: the primary after a failover, or a standby to read from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import asyncpg

_PREFERENCE = "prefer-standby"


def with_hosts(connect_args: dict[str, Any]) -> dict[str, Any]:
    """The arguments for SQLAlchemy's engine, where several hosts (lists in ``host`` and ``port``) are taken care of."""
    if not isinstance(connect_args.get("host"), list):
        return connect_args
    rest = {name: value for name, value in connect_args.items() if name not in ("host", "port", "target_session_attrs")}
    hosts = Hosts(connect_args["host"], connect_args["port"], connect_args.get("target_session_attrs", "any"))
    return {"timeout": 5.0, **rest, "async_creator_fn": hosts}


class Hosts:
    """Opens connections for SQLAlchemy (its ``async_creator_fn``), beginning with the host that was right last time.

    asyncpg knows of several hosts too, but has one timeout for all of them: behind a first host that swallows packets,
    as a dead machine does, it would never come to the second.
    """

    def __init__(self, hosts: list[str], ports: list[int], target: str) -> None:
        """``target`` is a ``target_session_attrs`` of libpq."""
        self._addresses = list(zip(hosts, ports, strict=True))
        self._targets = ("standby", "any") if target == _PREFERENCE else (target,)
        self._last = 0

    async def __call__(self, *, timeout: float, **arguments: Any) -> asyncpg.Connection:  # noqa: ASYNC109
        """The first host that answers and is what is asked for. ``timeout`` (seconds) is divided among the hosts.

        Raises what the last of them raised: ``OSError``, ``TimeoutError``, or an error of asyncpg.
        """
        share_s = timeout / len(self._addresses)
        failure: Exception = OSError("no host is configured")
        for target, at in self._candidates():
            host, port = self._addresses[at]
            try:
                connection = await asyncpg.connect(
                    **{**arguments, "host": host, "port": port, "target_session_attrs": target, "timeout": share_s}
                )
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
                failure = error  # TimeoutError is an OSError
            else:
                self._last = at
                return connection
        raise failure

    def _candidates(self) -> Iterator[tuple[str, int]]:
        first, count = self._last, len(self._addresses)
        for target in self._targets:
            for step in range(count):
                yield target, (first + step) % count
