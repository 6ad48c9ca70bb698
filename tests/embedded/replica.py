"""Stands for a replica: uses the own servers of a directory until its stdin is closed or it gets a Ctrl-C."""

import contextlib
import sys
from pathlib import Path

import msgspec

from chatapp.embedded import OwnServices


def main() -> None:
    with OwnServices(Path(sys.argv[1])) as endpoints:
        print(msgspec.json.encode(endpoints).decode(), flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            sys.stdin.read()


if __name__ == "__main__":
    main()
