"""Attempts to log in to one account: after some wrong passwords each further attempt must wait longer.

Nobody can be locked out for good. The wait is at most ``LONGEST_WAIT_S``; what was counted is forgotten after
``REMEMBERED_S``; a right password ends it; and a network from which the account has logged in lately counts by itself,
so that whoever guesses elsewhere does not keep the owner out.
"""

from __future__ import annotations

from hashlib import blake2b

from chatapp.errors import RateLimited
from chatapp.limiting.allowances import Allowance
from chatapp.limiting.counts import Counts

LONGEST_WAIT_S = 900
REMEMBERED_S = 3600
"""From the first attempt of a series."""
KNOWN_S = 30 * 86400
"""How long a network is known after a login."""


class Attempt:
    """One attempt that may be made."""

    def __init__(self, counts: Counts, known: str, failures: str, wait: str) -> None:
        self._counts = counts
        self._known = known
        self._failures = failures
        self._wait = wait

    async def succeeded(self) -> None:
        """It was the right password: begin anew."""
        await self._counts.clear(self._failures)
        await self._counts.clear(self._wait)
        await self._counts.clear(self._known)
        await self._counts.add(self._known, KNOWN_S)

    async def forget(self) -> None:
        """The password was not looked at, or not to the end."""
        await self._counts.add(self._failures, REMEMBERED_S, -1)


class Logins:
    """All accounts'."""

    def __init__(self, counts: Counts, allowance: Allowance) -> None:
        """``allowance.count`` wrong passwords are free; then the waits begin with the time that one of them takes."""
        self._counts = counts
        self._free = allowance.count
        self._first_wait_s = max(1, allowance.period_s // allowance.count)

    async def attempt(self, network: str, username: str) -> Attempt:
        """Ask before the password is looked at. Raises ``RateLimited``; then the attempt does not count."""
        account = _account(username)
        known = f"login:known:{account}:{network}"
        whose = f"{account}:{network}" if await self._counts.left_s(known) else account
        failures, wait = f"login:count:{whose}", f"login:wait:{whose}"
        left_s = await self._counts.left_s(wait)
        if left_s:
            raise RateLimited(left_s)
        count = await self._counts.add(failures, REMEMBERED_S)
        if count > self._free:
            # Begin the wait with the attempt, not with its failure: of many at once only the first finds none.
            wait_s = min(LONGEST_WAIT_S, self._first_wait_s * 2 ** min(20, count - self._free - 1))
            if await self._counts.add(wait, wait_s) > 1:
                await self._counts.add(failures, REMEMBERED_S, -1)
                raise RateLimited(await self._counts.left_s(wait) or 1.0)
        return Attempt(self._counts, known, failures, wait)


def _account(username: str) -> str:
    """A name for the account that says nothing (people type passwords there), whether or not it exists."""
    return blake2b(username.strip().lower().encode("utf-8", "replace"), digest_size=16).hexdigest()
