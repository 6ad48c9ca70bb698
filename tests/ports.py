"""Ports for the servers that tests start as processes of their own, which bind them a moment later."""

from __future__ import annotations

import os
import random
import socket

# Below the range that systems give to outgoing connections: one of these must not take a port before its server does,
# nor while that server is being restarted. Each process of a divided run has a part of it for itself.
_FIRST = 12_000
_PART = 2_000
_PARTS = 9


class _Ports:
    """Goes round a part of the range, so that no port is given twice before all others were."""

    def __init__(self, worker: str) -> None:
        part = int(worker.removeprefix("gw")) % (_PARTS - 1) + 1 if worker.startswith("gw") else 0
        self._first = _FIRST + part * _PART
        # Not the generator that hypothesis seeds: runs beside each other would all begin at the same port.
        self._given = random.SystemRandom().randrange(_PART)

    def next(self) -> int:
        """The next one that can be bound on every address of the machine."""
        for _ in range(_PART):
            self._given = (self._given + 1) % _PART
            port = self._first + self._given
            if _can_be_bound(port):
                return port
        raise RuntimeError(f"none of the {_PART} ports from {self._first} on is free")


def _can_be_bound(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


_ports = _Ports(os.environ.get("PYTEST_XDIST_WORKER", ""))


def free_port() -> int:
    """A TCP port that nothing listens at, and that this process has not given away lately."""
    return _ports.next()
