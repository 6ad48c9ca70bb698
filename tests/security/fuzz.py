"""``python -m tests.security.fuzz --seconds 60``: try what nobody thought of, while somebody else pings.

Half of the time schemathesis makes requests from the interface's description, against a replica as operators start it;
the other half random conversations are played (``test_machine.py``). Exit status 1 where anything failed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.acceptance.client import Account, rests
from tests.acceptance.raw import masked, upgraded
from tests.acceptance.replicas import ReplicaProcess, replicas
from tests.servers import choose

ROOT = Path(__file__).resolve().parents[2]
CONFIG = Path(__file__).with_name("schemathesis.toml")
PING_EVERY_S = 0.02
AT_ONCE = 200
"""Conversations in one run of pytest."""


def schemathesis(url: str, *options: str) -> tuple[int, str]:
    """Run it; its exit status and what it says. Leaves nothing behind."""
    with tempfile.TemporaryDirectory() as directory:
        done = subprocess.run(
            [
                str(Path(sys.executable).with_name("schemathesis")),
                *("--config-file", str(CONFIG), "run", f"{url}/schema/openapi.json", "--no-color", *options),
            ],
            cwd=directory,
            env={**os.environ, "PYTHONPATH": str(ROOT), "NO_PROXY": "*", "no_proxy": "*"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=3600 * 24,
            check=False,
        )
    return done.returncode, done.stdout


def broke(replica: ReplicaProcess) -> list[str]:
    """What its log tells of failures, and of tokens."""
    bad = ("Traceback", '"level": "error"', "v4.local.")
    return [line for line in replica.output.splitlines() if any(word in line for word in bad)]


async def _pings(replica: ReplicaProcess, account: Account, waits_s: list[float]) -> None:
    """How long a client that behaves waits for its pongs, all the time."""
    async with upgraded(replica, account.token) as opened:
        while True:
            began = time.monotonic()
            await opened.write(masked(b'{"type": "ping", "payload": {}}'))
            while b'"pong"' not in (await opened.frame())[1]:
                pass
            waits_s.append(time.monotonic() - began)
            await asyncio.sleep(PING_EVERY_S)


async def _requests(replica: ReplicaProcess, seconds: int) -> tuple[int, str, list[float]]:
    async with rests(replica) as (rest,):
        account = await rest.register("pinging")
    waits_s: list[float] = []
    pinging = asyncio.create_task(_pings(replica, account, waits_s))
    try:
        status, said = await asyncio.to_thread(schemathesis, replica.url, "--max-time", str(seconds), "-n", "1000")
    finally:
        pinging.cancel()
        await asyncio.gather(pinging, return_exceptions=True)
    return status, said, waits_s


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.security.fuzz", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--seconds", type=int, default=60)
    half = max(1, parser.parse_args().seconds // 2)
    servers = choose()
    try:
        databases = servers.databases()
        with (
            tempfile.TemporaryDirectory() as directory,
            replicas(Path(directory), databases.create("fuzz"), servers.redis_url()) as made,
        ):
            (replica,) = made.start(1)
            status, said, waits_s = asyncio.run(_requests(replica, half))
            print(said)
            found = broke(replica)
            print(*found[:50], sep="\n")
            waits_s.sort()
            p99, longest = waits_s[int(len(waits_s) * 0.99)], waits_s[-1]
            print(f"{len(waits_s)} pongs meanwhile: p99 {p99 * 1000:.1f} ms, longest {longest * 1000:.1f} ms")
        databases.drop_all()
    finally:
        servers.close()
    return int(bool(status or found) or not _conversations(half))


def _conversations(seconds: int) -> bool:
    """Play them, some after some, until the time is over; whether all went well."""
    end = time.monotonic() + seconds
    played = [sys.executable, "-m", "pytest", "-q", "tests/security/test_machine.py"]
    environment = {**os.environ, "CHATAPP_FUZZ_EXAMPLES": str(AT_ONCE)}
    went_well = True
    while went_well and time.monotonic() < end:
        went_well = subprocess.run(played, cwd=ROOT, env=environment, check=False).returncode == 0
    return went_well


if __name__ == "__main__":
    sys.exit(main())
