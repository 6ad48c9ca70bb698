"""Stands for a replica: uses the own servers of a directory until its stdin is closed or it gets a Ctrl-C."""

import contextlib
import select
import signal
import socket
import sys
from pathlib import Path

import msgspec

from chatapp.embedded import OwnServices


def main() -> None:
    woken, wakes = socket.socketpair()
    wakes.setblocking(False)
    signal.set_wakeup_fd(wakes.fileno())  # a signal between a look for one and a read would be slept through
    with contextlib.suppress(KeyboardInterrupt), OwnServices(Path(sys.argv[1])) as endpoints:
        print(msgspec.json.encode(endpoints).decode(), flush=True)
        select.select([sys.stdin, woken], [], [])


if __name__ == "__main__":
    main()
