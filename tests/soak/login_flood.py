"""``python -m tests.soak.login_flood``: 50 logins in parallel, and what another client's pings and the loop feel of it.

One replica with the service's own costs of a password. The logins are right ones of fifty accounts, so that the rate
limits let them pass, and each is repeated as soon as it is answered: what a flood costs at most. The flood, the pings
and the servers share the machine; the loop's lag is the replica's own.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import time
from collections import Counter

import httpx
import msgspec

from tests.chaos.cluster import Cluster, Replica
from tests.soak.account import PASSWORD, Account, register, rest, socket
from tests.soak.hostile import LOGINS
from tests.soak.statistics import quantile
from tests.soak.watch import lag_quantile, scrape

_PING_S = 0.02
_REGISTER_AT_ONCE = 2
_BUSY_S = 0.1
"""Before the next attempt of one who was told to come later (503); Retry-After would be kinder."""


async def measure(seconds: float) -> int:
    """Quiet first, then the flood; prints both."""
    rng = random.Random(1)
    async with Cluster(1, settings={"CHATAPP_RATE_LIMITS__REGISTER": "1000/minute"}) as cluster:
        (replica,) = cluster.replicas
        gate = asyncio.Semaphore(_REGISTER_AT_ONCE)
        async with rest(replica.port) as client:

            async def one(number: int) -> Account:
                async with gate:
                    return await register(client, f"flood{number}", rng)

            accounts = await asyncio.gather(*(one(number) for number in range(LOGINS + 1)))
        print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} before")
        await _phase("quiet", replica, accounts[0], [], seconds / 2)
        await _phase(f"{LOGINS} logins in parallel", replica, accounts[0], accounts[1:], seconds)
    return 0


async def _phase(name: str, replica: Replica, pinging: Account, flooding: list[Account], seconds: float) -> None:
    before, statuses = await scrape(replica.port), Counter[int]()
    async with rest(replica.port) as client:
        client.timeout = httpx.Timeout(60.0)
        tasks = [asyncio.create_task(_log_in(client, account, statuses)) for account in flooding]
        pings = await _pings(replica.port, pinging, seconds)
        after = await scrape(replica.port)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    lag = " / ".join(f"{1000 * lag_quantile(before.lag, after.lag, share):.1f}" for share in (0.5, 0.99))
    ping = " / ".join(f"{1000 * quantile(pings, share):.1f}" for share in (0.5, 0.99, 1.0))
    print(f"{name}: loop lag p50 / p99 {lag} ms; ping p50 / p99 / worst {ping} ms; logins {dict(statuses)}")


async def _log_in(client: httpx.AsyncClient, account: Account, statuses: Counter[int]) -> None:
    body = {"username": account.name, "password": PASSWORD}
    while True:
        answer = await client.post("/auth/login", json=body, headers={"X-Forwarded-For": account.address})
        statuses[answer.status_code] += 1
        if answer.status_code != 200:
            await asyncio.sleep(_BUSY_S)


async def _pings(port: int, account: Account, seconds: float) -> list[float]:
    """How long each ping of the protocol took, in seconds."""
    found: list[float] = []
    async with socket(port, account) as connection:
        await connection.recv()  # ready
        end = time.monotonic() + seconds
        while (started := time.monotonic()) < end:
            await connection.send('{"type": "ping", "payload": {}}')
            while msgspec.json.decode(await connection.recv())["type"] != "pong":
                pass
            found.append(time.monotonic() - started)
            await asyncio.sleep(_PING_S)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.soak.login_flood")
    parser.add_argument("--seconds", type=float, default=20.0)
    sys.exit(asyncio.run(measure(parser.parse_args().seconds)))
