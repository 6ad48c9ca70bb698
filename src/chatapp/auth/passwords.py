"""Password hashes: argon2id (RFC 9106), in threads of their own, because one takes 100 ms and more by design."""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import secrets
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from time import monotonic
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import HashingError, InvalidHashError, VerificationError, VerifyMismatchError
from msgspec import Struct, field

from chatapp.counting import Histogram
from chatapp.errors import Malformed, Overloaded, Unavailable

_log = logging.getLogger(__name__)

T = TypeVar("T")

_NICENESS = 12
"""Of the hashing threads. Not the most there is: one that has just got the interpreter's lock must get a core soon, or
the event loop waits for it. With 50 logins at once on 2 cores the loop's lag at p99 was 9 to 16 ms with 12, 25 to 44 ms
with 19, and 24 ms with 0 (``tests.soak.login_flood``)."""


PATIENCE_S = 10.0
"""How long a caller waits for its turn; then it is refused, as it would have been past the bound of the queue."""


class PasswordStats(Struct):
    """Counters since the start, for metrics."""

    refused: int = 0
    """Callers that were refused because too many waited, or because they had waited for too long."""
    wait_s: Histogram = field(default_factory=Histogram)
    """From the call to a thread's turn."""
    hash_s: Histogram = field(default_factory=Histogram)
    """One computation in its thread."""


class Passwords:
    """Hashes and verifies, as many at once as there are cores, while a bounded number of others wait their turn.

    Their threads, and the lanes that argon2 starts in them, have a low priority: a flood of logins takes the cores
    that the event loop leaves. Past the bound a call is refused at once with ``Overloaded``. Each computation holds
    ``memory_kib`` and cannot be interrupted: a caller that is cancelled gives up its place in the queue, but once begun
    its computation ends in its thread, and counts as running until then. Who has waited ``patience_s`` is refused too.
    Belongs to one event loop.
    """

    def __init__(
        self,
        time_cost: int = 3,
        memory_kib: int = 65536,
        parallelism: int = 4,
        queue: int = 32,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """``memory_kib``: KiB for each computation. ``queue``: how many callers may wait while all threads are busy.

        The costs hold for new hashes; stored ones are verified with their own.
        """
        self._hasher = PasswordHasher(time_cost, memory_kib, parallelism)
        self._nobodys = _unmatchable(self._hasher)
        self._threads = _cores()
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="argon2", initializer=_give_way)
        self._turns = asyncio.Semaphore(self._threads)
        self._queue = queue
        self._patience_s = patience_s
        self._waiting = 0
        self._running = 0
        self._closed = False
        self.stats = PasswordStats()

    @property
    def waiting(self) -> int:
        """How many callers wait for a thread."""
        return self._waiting

    @property
    def running(self) -> int:
        """How many computations are under way, including those whose callers are gone."""
        return self._running

    async def hash(self, password: str) -> str:
        """Return the encoded hash to store, with a fresh salt. The password is taken as its UTF-8, not normalised.

        Raises ``Overloaded``, ``Unavailable`` after ``close`` or for want of memory, and ``Malformed`` for text that
        has no UTF-8.
        """
        secret = _utf8(password)
        return await self._in_turn(lambda: self._hashed(secret))

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether ``stored`` is a hash of this password.

        Without a stored hash (no such user), or with one that cannot be read (logged), the answer is False after the
        time that an ordinary one takes. Raises as ``hash`` does.
        """
        secret = _utf8(password)
        return await self._in_turn(lambda: self._matches(stored, secret))

    def needs_rehash(self, stored: str) -> bool:
        """Whether it was made with other costs than today's (or cannot be read): hash again when the password is known.

        Reads the costs only; takes no time.
        """
        try:
            return self._hasher.check_needs_rehash(stored)
        except ValueError:
            return True

    def close(self) -> None:
        """Begin no more computations. Those who wait, and later callers, get ``Unavailable``. Does not block.

        A computation that is under way still ends, in the time that one takes.
        """
        self._closed = True
        self._pool.shutdown(wait=False)

    async def _in_turn(self, compute: Callable[[], T]) -> T:
        came = monotonic()
        await self._turn()
        began = monotonic()
        self.stats.wait_s.observe(began - came)
        try:
            computation = asyncio.get_running_loop().run_in_executor(self._pool, compute)
        except RuntimeError:  # the system has no thread to give
            self._turns.release()
            raise Unavailable from None
        self._running += 1
        computation.add_done_callback(lambda _: self._ended(began))
        # Shielded, so that the turn passes on when the thread is free and not when the caller goes.
        return await asyncio.shield(computation)

    async def _turn(self) -> None:
        if self._closed:
            raise Unavailable
        if self._turns.locked() and self._waiting >= self._queue:
            self.stats.refused += 1
            raise Overloaded
        self._waiting += 1
        try:
            async with asyncio.timeout(self._patience_s):
                await self._turns.acquire()
        except TimeoutError:
            self.stats.refused += 1
            raise Overloaded from None
        finally:
            self._waiting -= 1
        if self._closed:
            self._turns.release()
            raise Unavailable

    def _ended(self, began: float) -> None:
        self.stats.hash_s.observe(monotonic() - began)
        self._running -= 1
        self._turns.release()

    def _hashed(self, secret: bytes) -> str:
        try:
            return self._hasher.hash(secret)
        except HashingError:  # no memory
            raise Unavailable from None

    def _matches(self, stored: str | None, secret: bytes) -> bool:
        if stored is not None:
            try:
                return self._hasher.verify(stored, secret)
            except VerifyMismatchError:
                return False
            except (VerificationError, InvalidHashError, UnicodeEncodeError):
                _log.warning("a stored password hash cannot be read")
        with suppress(VerificationError):
            self._hasher.verify(self._nobodys, secret)
        return False


def _unmatchable(hasher: PasswordHasher) -> str:
    """Make up a hash with the hasher's costs that no password is known for. Random, so that making it takes no time."""
    salt, digest = (
        base64.b64encode(secrets.token_bytes(n)).rstrip(b"=").decode() for n in (hasher.salt_len, hasher.hash_len)
    )
    return f"$argon2id$v=19$m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}${salt}${digest}"


def _give_way() -> None:
    """Let others have the calling thread's core first. On Linux each thread has a priority of its own."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


def _cores() -> int:
    """How many cores this process may use. A container without cores of its own says so with ``PYTHON_CPU_COUNT``."""
    if sys.version_info >= (3, 13):
        return max(1, os.process_cpu_count() or 1)
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return max(1, os.cpu_count() or 1)


def _utf8(password: str) -> bytes:
    try:
        return password.encode()
    except UnicodeEncodeError:
        raise Malformed("the password is not valid text") from None
