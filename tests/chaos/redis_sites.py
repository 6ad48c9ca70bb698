"""The Redis of a run, in each of the modes that the service knows: all servers our own, to be broken at will."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from redis.exceptions import RedisError

from tests.bus.private_cluster import PrivateCluster, PrivateSentinels
from tests.bus.private_valkey import PrivateValkey

RedisMode = Literal["single", "sentinel", "cluster"]

_HEALED_S = 45.0
_POLL_S = 0.05
_NODE_TIMEOUT_MS = 1_000


class RedisSite:
    """Servers of one mode. ``lock`` is held by whoever breaks them, so that two faults do not heal each other."""

    mode: RedisMode

    def __init__(self, servers: list[PrivateValkey]) -> None:
        self.servers = servers
        """Those that hold data or channels; not the Sentinels."""
        self.lock = asyncio.Lock()

    def environment(self) -> Mapping[str, str]:
        """How a replica is told of them."""
        raise NotImplementedError

    async def start(self) -> None:
        """Start all, and wait until they serve."""
        raise NotImplementedError

    async def end(self) -> None:
        """End all, frozen ones too."""
        for server in self.servers:
            await asyncio.to_thread(server.kill)

    async def healed(self) -> None:
        """Wait until it serves as at the beginning. Raises ``TimeoutError``."""
        async with asyncio.timeout(_HEALED_S):
            while not await asyncio.to_thread(self._serves):
                await asyncio.sleep(_POLL_S)

    async def masters(self) -> list[PrivateValkey]:
        """Those that are masters now, as they say themselves."""
        roles = await asyncio.gather(*(asyncio.to_thread(server.role) for server in self.servers))
        return [server for server, role in zip(self.servers, roles, strict=True) if role == b"master"]

    async def tell_masters(self, *command: str | int) -> None:
        """One command to each; those that do not answer are left out."""
        for master in await self.masters():
            with contextlib.suppress(RedisError):
                await asyncio.to_thread(master.command, *command)

    def _serves(self) -> bool:
        raise NotImplementedError


class SingleRedis(RedisSite):
    """One server."""

    mode: RedisMode = "single"

    def __init__(self, directory: Path) -> None:
        super().__init__([PrivateValkey(directory / "valkey")])

    @property
    def server(self) -> PrivateValkey:
        """The one."""
        return self.servers[0]

    def environment(self) -> Mapping[str, str]:
        """See ``RedisSite``."""
        return {"REDIS_URL": self.server.url}

    async def start(self) -> None:
        """See ``RedisSite``."""
        await asyncio.to_thread(self.server.start)

    def _serves(self) -> bool:
        return self.server.role() == b"master"


class SentinelRedis(RedisSite):
    """A master, two replicas, three Sentinels."""

    mode: RedisMode = "sentinel"

    def __init__(self, directory: Path) -> None:
        self.group = PrivateSentinels(directory / "sentinels", down_after_ms=_NODE_TIMEOUT_MS)
        super().__init__(self.group.servers)

    def environment(self) -> Mapping[str, str]:
        """See ``RedisSite``."""
        return {
            "CHATAPP_REDIS__MODE": self.mode,
            "CHATAPP_REDIS__NODES": _list(self.group.sentinels),
            "CHATAPP_REDIS__SENTINEL_MASTER": self.group.name,
        }

    async def start(self) -> None:
        """See ``RedisSite``."""
        await asyncio.to_thread(self.group.start)

    async def end(self) -> None:
        """See ``RedisSite``."""
        await asyncio.to_thread(self.group.kill)

    def _serves(self) -> bool:
        """The Sentinels know one master, which the two others follow."""
        with contextlib.suppress(RedisError, OSError, TypeError):
            master = self.group.current_master()
            return sorted(server.role() for server in self.servers) == [b"master", b"slave", b"slave"] and (
                master.role() == b"master"
            )
        return False


class RedisCluster(RedisSite):
    """Three masters with a replica each."""

    mode: RedisMode = "cluster"

    def __init__(self, directory: Path) -> None:
        self.cluster = PrivateCluster(directory / "cluster", replicas=True, node_timeout_ms=_NODE_TIMEOUT_MS)
        super().__init__(self.cluster.nodes)

    def environment(self) -> Mapping[str, str]:
        """See ``RedisSite``."""
        return {"CHATAPP_REDIS__MODE": self.mode, "CHATAPP_REDIS__NODES": _list(self.servers)}

    async def start(self) -> None:
        """See ``RedisSite``."""
        await asyncio.to_thread(self.cluster.start)

    def _serves(self) -> bool:
        """All nodes say so, and each master has a replica again."""
        roles = sorted(server.role() for server in self.servers)
        return roles == [b"master"] * 3 + [b"slave"] * 3 and all(map(self.cluster.serves, self.servers))


def redis_site(mode: RedisMode, directory: Path) -> RedisSite:
    """Not started yet; its files are in ``directory``."""
    if mode == "sentinel":
        return SentinelRedis(directory)
    if mode == "cluster":
        return RedisCluster(directory)
    return SingleRedis(directory)


def _list(servers: list[PrivateValkey]) -> str:
    return "[" + ",".join(f"'127.0.0.1:{server.port}'" for server in servers) + "]"
