"""Ports for servers: nobody else takes one between its choice and its use."""

from __future__ import annotations

import socket
from pathlib import Path

from tests.ports import free_port


def test_no_outgoing_connection_can_take_a_chosen_port() -> None:
    outgoing = Path("/proc/sys/net/ipv4/ip_local_port_range")
    first = int(outgoing.read_text().split()[0]) if outgoing.exists() else 32_768
    assert max(free_port() for _ in range(100)) < first


def test_no_port_is_given_twice_in_a_row_of_many() -> None:
    chosen = [free_port() for _ in range(500)]
    assert len(set(chosen)) == len(chosen)


def test_a_port_in_use_is_passed_over() -> None:
    before = free_port()
    listeners = [socket.socket() for _ in range(20)]
    try:
        for offset, listener in enumerate(listeners, start=1):
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if _bind(listener, before + offset):
                listener.listen()
        taken = {listener.getsockname()[1] for listener in listeners}
        assert taken.isdisjoint(free_port() for _ in range(40))
    finally:
        for listener in listeners:
            listener.close()


def _bind(listener: socket.socket, port: int) -> bool:
    try:
        listener.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True
