"""All limits of a replica."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

from chatapp.errors import InvalidCredentials, RateLimited
from chatapp.limiting.address import network_of
from chatapp.limiting.allowances import Allowance, Allowances, Refusals
from chatapp.limiting.counts import LocalCounts
from chatapp.limiting.fallback import FallbackCounts
from chatapp.limiting.logins import Logins
from chatapp.limiting.portions import Portions, Teller
from chatapp.limiting.shared import SharedCounts

Kind = Literal["send", "command"]


class RateLimiter:
    """One for each replica. ``run`` tells Redis what happens often; ``close`` ends the connections.

    ``register`` and ``login`` ask Redis and wait for it, 0.3 s for each question at most; nothing else does. Call
    ``prune`` every minute or so.
    """

    def __init__(self, allowances: Allowances, shared: SharedCounts | None) -> None:
        """Without ``shared`` the replica counts by itself."""
        self._shared = shared
        self._teller = Teller(shared)
        self._sends = Portions("send", allowances.send, self._teller)
        self._commands = Portions("command", allowances.command, self._teller)
        self._connects = Portions("connect", allowances.connect, self._teller)
        self._handshakes = Portions("handshake", allowances.connect_address, self._teller)
        self._local = LocalCounts(time.monotonic)
        self._counts = FallbackCounts(shared, self._local)
        self._logins = Logins(self._counts, allowances.login)
        self._login_address = allowances.login_address
        self._register = allowances.register
        self._refusals = Refusals()

    @property
    def refusals(self) -> Refusals:
        """What was refused so far."""
        self._refusals.portions = self._teller.told
        self._refusals.shared_failures = 0 if self._shared is None else self._shared.failures
        return self._refusals

    async def run(self) -> None:
        """Until cancelled."""
        await self._teller.run()

    def prune(self) -> None:
        """Free what no longer counts."""
        for kind in (self._sends, self._commands, self._connects, self._handshakes):
            kind.prune()
        self._local.prune()

    async def close(self) -> None:
        """End the connections to Redis."""
        if self._shared is not None:
            await self._shared.close()

    # -- users: nobody waits --------------------------------------------------------------------------------------

    def wait_s(self, kind: Kind, user_id: int) -> float:
        """Count a user's message or other command: 0. Or the seconds until it may be repeated."""
        if kind == "send":
            wait_s = self._sends.take(user_id)
            if wait_s:
                self._refusals.send += 1
        else:
            wait_s = self._commands.take(user_id)
            if wait_s:
                self._refusals.command += 1
        return wait_s

    def spend(self, kind: Kind, user_id: int) -> None:
        """As ``wait_s``. Raises ``RateLimited``."""
        wait_s = self.wait_s(kind, user_id)
        if wait_s:
            raise RateLimited(wait_s)

    def connect(self, user_id: int) -> None:
        """Count a socket of this user. Raises ``RateLimited``."""
        self._connected(self._connects.take(user_id))

    def handshake(self, address: str) -> None:
        """Count a handshake from this address. Raises ``RateLimited``."""
        self._connected(self._handshakes.take(network_of(address)))

    def _connected(self, wait_s: float) -> None:
        if wait_s:
            self._refusals.connect += 1
            raise RateLimited(wait_s)

    def closed_a_socket(self) -> None:
        """Somebody went on all the same, and was closed."""
        self._refusals.sockets_closed += 1

    # -- addresses and accounts: asked of Redis -------------------------------------------------------------------

    async def register(self, address: str) -> None:
        """Count a registration from this address. Raises ``RateLimited``."""
        try:
            await self._take("register", self._register, network_of(address))
        except RateLimited:
            self._refusals.register += 1
            raise

    @asynccontextmanager
    async def login(self, address: str, username: str) -> AsyncIterator[None]:
        """Around one attempt; ``InvalidCredentials`` from within counts against account and address.

        Raises ``RateLimited`` before anything was tried.
        """
        network = network_of(address)
        try:
            key = await self._take("login", self._login_address, network)
            attempt = await self._logins.attempt(network, username)
        except RateLimited:
            self._refusals.login += 1
            raise
        try:
            yield
        except InvalidCredentials:
            raise
        except BaseException:
            await attempt.forget()
            await self._give_back(key)
            raise
        await attempt.succeeded()
        await self._give_back(key)

    async def _take(self, kind: str, allowance: Allowance, who: str) -> str:
        """Count one act in the present period; the key of its count. Raises ``RateLimited``."""
        now = time.time()
        period = int(now // allowance.period_s)
        key = f"{kind}:{who}:{period}"
        if await self._counts.add(key, 2 * allowance.period_s) > allowance.count:
            raise RateLimited((period + 1) * allowance.period_s - now)
        return key

    async def _give_back(self, key: str) -> None:
        await self._counts.add(key, 2 * self._login_address.period_s, -1)
