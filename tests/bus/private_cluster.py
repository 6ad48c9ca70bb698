"""A cluster of Valkeys, and a group of Valkeys behind Sentinels, that a test may do anything to."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from redis.exceptions import RedisError

from chatapp.bus.slots import SLOTS
from tests.bus.private_valkey import PrivateValkey
from tests.bus.recorder import PATIENCE_S, waited_for
from tests.ports import free_port

MASTERS = 3


class PrivateCluster:
    """Three masters, each with a replica if wanted. It knows itself from the first moment on."""

    def __init__(self, directory: Path, *, replicas: bool = False, node_timeout_ms: int = 60_000) -> None:
        count = 2 * MASTERS if replicas else MASTERS
        self._ids = [f"{number:040x}" for number in range(1, count + 1)]
        self._bus_ports = [free_port() for _ in self._ids]
        self._directories = [directory / f"node{number}" for number in range(count)]
        self.nodes = [
            PrivateValkey(
                self._directories[number],
                settings=f"cluster-enabled yes\ncluster-port {self._bus_ports[number]}\n"
                f"cluster-node-timeout {node_timeout_ms}\ncluster-replica-validity-factor 0\n"
                "repl-diskless-sync-delay 0\n",
            )
            for number in range(count)
        ]

    @property
    def masters(self) -> list[PrivateValkey]:
        """Those of the beginning; the first has slots 0 to 5460, and so on."""
        return self.nodes[:MASTERS]

    def id_of(self, node: PrivateValkey) -> str:
        return self._ids[self.nodes.index(node)]

    def start(self) -> None:
        for number, directory in enumerate(self._directories):
            directory.mkdir(parents=True, exist_ok=True)
            (directory / "nodes.conf").write_text(self._as_known_by(number))
        self.restart()

    def restart(self) -> None:
        """Start those that do not run, and wait until the cluster serves."""
        for node in self.nodes:
            if not node.runs:
                node.launch()
        for node in self.nodes:
            node.await_answer()
        waited_for(lambda: all(self.serves(node) for node in self.nodes), 2 * PATIENCE_S)
        replicas = self.nodes[MASTERS:]
        waited_for(lambda: all(_is_in_sync(node) for node in replicas if node.role() == b"slave"), 2 * PATIENCE_S)

    def serves(self, node: PrivateValkey) -> bool:
        return b"cluster_state:ok" in _words(node, "CLUSTER", "INFO")

    def kill(self) -> None:
        for node in self.nodes:
            node.kill()

    def move_slot(self, slot: int, source: PrivateValkey, target: PrivateValkey) -> None:
        """As an operator's tool does. There are no keys to migrate."""
        target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", self.id_of(source))
        source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", self.id_of(target))
        for node in (target, source, *(master for master in self.masters if master not in (source, target))):
            node.command("CLUSTER", "SETSLOT", slot, "NODE", self.id_of(target))

    def _as_known_by(self, number: int) -> str:
        lines = []
        for other, node in enumerate(self.nodes):
            master = other % MASTERS
            myself = "myself," if other == number else ""
            first, last = _slots(master)
            role = f"{myself}slave {self._ids[master]}" if other >= MASTERS else f"{myself}master -"
            slots = f" {first}-{last}" if other < MASTERS else ""
            lines.append(
                f"{self._ids[other]} 127.0.0.1:{node.port}@{self._bus_ports[other]},,shard-id={self._ids[master]} "
                f"{role} 0 0 {master + 1} connected{slots}"
            )
        return "\n".join([*lines, f"vars currentEpoch {MASTERS} lastVoteEpoch 0", ""])


class PrivateSentinels:
    """A master, two replicas and three Sentinels."""

    name = "chat-master"

    def __init__(self, directory: Path, *, down_after_ms: int = 60_000, password: str = "") -> None:
        self._password = password
        own = "repl-diskless-sync-delay 0\n" + (f"masterauth {password}\n" if password else "")
        self.master = PrivateValkey(directory / "master", password, settings=own)
        follow = f"replicaof 127.0.0.1 {self.master.port}\n"
        self.replicas = [
            PrivateValkey(directory / f"replica{number}", password, settings=own + follow) for number in range(2)
        ]
        watch = (
            f"sentinel monitor {self.name} 127.0.0.1 {self.master.port} 2\n"
            f"sentinel down-after-milliseconds {self.name} {down_after_ms}\n"
            f"sentinel failover-timeout {self.name} 4000\n"
        )
        if password:
            watch += f"sentinel auth-pass {self.name} {password}\n"
        for replica in self.replicas:
            watch += f"sentinel known-replica {self.name} 127.0.0.1 {replica.port}\n"
        ids = [f"{number:040x}" for number in range(1, 4)]
        self.sentinels = [
            PrivateValkey(directory / f"sentinel{number}", settings=f"sentinel myid {own_id}\n{watch}", sentinel=True)
            for number, own_id in enumerate(ids)
        ]
        for sentinel in self.sentinels:
            for other, other_id in zip(self.sentinels, ids, strict=True):
                if other is not sentinel:
                    sentinel.settings += f"sentinel known-sentinel {self.name} 127.0.0.1 {other.port} {other_id}\n"

    @property
    def servers(self) -> list[PrivateValkey]:
        return [self.master, *self.replicas]

    @property
    def url(self) -> str:
        """Says how to be let in, and leads nowhere."""
        return f"redis://:{self._password}@nowhere" if self._password else "redis://nowhere"

    @property
    def addresses(self) -> list[tuple[str, int]]:
        return [("127.0.0.1", sentinel.port) for sentinel in self.sentinels]

    def start(self) -> None:
        self._launch(self.servers)
        waited_for(lambda: all(map(_is_in_sync, self.replicas)), 2 * PATIENCE_S)
        self._launch(self.sentinels)
        waited_for(lambda: all(map(self._knows_everybody, self.sentinels)), 2 * PATIENCE_S)

    def kill(self) -> None:
        for server in (*self.sentinels, *self.servers):
            server.kill()

    def current_master(self) -> PrivateValkey:
        """As the first Sentinel says."""
        _, port = cast("list[bytes]", self.sentinels[0].command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.name))
        return next(server for server in self.servers if server.port == int(port))

    def _knows_everybody(self, sentinel: PrivateValkey) -> bool:
        with contextlib.suppress(RedisError), sentinel.admin() as admin:
            state = admin.sentinel_master(self.name)
            return bool(state["num-slaves"] == 2 and state["num-other-sentinels"] == 2 and state["flags"] == "master")
        return False

    def _launch(self, servers: Sequence[PrivateValkey]) -> None:
        for server in servers:
            server.launch()
        for server in servers:
            server.await_answer()


def _slots(master: int) -> tuple[int, int]:
    bounds: Callable[[int], int] = lambda number: number * SLOTS // MASTERS  # noqa: E731
    return bounds(master), bounds(master + 1) - 1


def _role(node: PrivateValkey) -> list[object]:
    with contextlib.suppress(RedisError):
        return cast("list[object]", node.command("ROLE"))
    return [b""]


def _is_in_sync(node: PrivateValkey) -> bool:
    role = _role(node)
    return len(role) > 3 and role[3] == b"connected"


def _words(node: PrivateValkey, *command: str) -> bytes:
    with contextlib.suppress(RedisError):
        return cast("bytes", node.command(*command))
    return b""
