"""Counts that all replicas share, in Redis."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from limits.aio.storage import RedisClusterStorage, RedisSentinelStorage, RedisStorage
from redis.exceptions import RedisClusterException, RedisError

from chatapp.limiting.counts import CountsAway
from chatapp.limiting.opening import AT_ONCE, TIMEOUT_S

_log = logging.getLogger(__name__)
T = TypeVar("T")

CLOSE_TIMEOUT_S = 1.0
PAUSE_S = 1.0
"""How long Redis is left alone after it did not answer; then one call tries it."""


class SharedCounts:
    """``Counts`` over a storage of ``limits``. While Redis is away every call but one a second fails at once."""

    def __init__(self, storage: RedisStorage, clock: Callable[[], float], timeout_s: float = TIMEOUT_S) -> None:
        """``clock``: seconds, monotonic."""
        self._storage = storage
        self._clock = clock
        self._timeout_s = timeout_s
        self._asking: set[asyncio.Task[Any]] = set()
        self._paused_until = 0.0
        self._away = False
        self.failures = 0

    @property
    def available(self) -> bool:
        """Whether it makes sense to ask now."""
        return self._clock() >= self._paused_until

    async def add(self, key: str, expiry_s: int, amount: int = 1) -> int:
        """See ``Counts.add``."""
        return await self._ask(lambda: self._storage.incr(key, expiry_s, amount))

    async def left_s(self, key: str) -> float:
        """See ``Counts.left_s``."""
        return await self._ask(lambda: self._left_s(key))

    async def clear(self, key: str) -> None:
        """See ``Counts.clear``."""
        await self._ask(lambda: self._storage.clear(key))

    async def close(self) -> None:
        """End the connections, within some seconds."""
        for task in self._asking:
            task.cancel()
        if self._asking:
            await asyncio.wait(self._asking, timeout=CLOSE_TIMEOUT_S)
        closing = asyncio.get_running_loop().create_task(self._disconnect())
        await asyncio.wait((closing,), timeout=CLOSE_TIMEOUT_S)
        closing.cancel()

    async def _disconnect(self) -> None:
        bridge: Any = self._storage.bridge
        if isinstance(self._storage, RedisClusterStorage):
            await bridge.storage.aclose()
            return
        await bridge.storage.aclose(close_connection_pool=True)
        if isinstance(self._storage, RedisSentinelStorage):
            for client in (bridge.storage_replica, *bridge.sentinel.sentinels):
                await client.aclose(close_connection_pool=True)

    async def _left_s(self, key: str) -> float:
        bridge: Any = self._storage.bridge
        milliseconds: int = await bridge.get_connection().pttl(bridge.prefixed_key(key))
        return max(0, milliseconds) / 1000

    async def _ask(self, question: Callable[[], Coroutine[Any, Any, T]]) -> T:
        now = self._clock()
        if now < self._paused_until or len(self._asking) >= AT_ONCE:
            raise CountsAway
        if self._away:
            self._paused_until = now + PAUSE_S  # for the others, while this one tries
        try:
            answer = await self._answer(question())
        # TimeoutError is an OSError; the exception of a cluster that nobody finds is no RedisError.
        except (RedisError, RedisClusterException, OSError) as problem:
            self.failures += 1
            self._paused_until = self._clock() + PAUSE_S
            if not self._away:
                _log.warning("rate limits: Redis is away (%s), every replica counts by itself", type(problem).__name__)
            self._away = True
            raise CountsAway from None
        if self._away:
            _log.info("rate limits: Redis is back, replicas count together")
            self._away = False
        self._paused_until = 0.0
        return answer

    async def _answer(self, question: Coroutine[Any, Any, T]) -> T:
        """In a task that is left behind when it takes too long: redis-py 8.1 can swallow a cancellation."""
        task = asyncio.get_running_loop().create_task(question)
        self._asking.add(task)
        task.add_done_callback(self._asked)
        try:
            await asyncio.wait((task,), timeout=self._timeout_s)
            if not task.done():
                raise TimeoutError
            return task.result()
        finally:
            task.cancel()

    def _asked(self, task: asyncio.Task[Any]) -> None:
        self._asking.discard(task)
        if not task.cancelled():
            task.exception()  # it may be nobody's any more
