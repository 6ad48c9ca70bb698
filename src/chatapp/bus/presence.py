"""Who is online, in Redis: when each user was last vouched for by any replica.

One sorted set of users by time, and a hash with the time of the last call. Whoever was not vouched for within
``offline_after_s`` has gone; the call that removes (or adds) somebody is the one that is told so, whichever replica
made it. All times are Redis' own.

After a time without calls (Redis or all replicas were away), and at the very first, nobody is removed before every
replica had ``offline_after_s`` to vouch again: an outage takes nobody offline.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Any, Protocol, cast

from msgspec import Struct
from redis.exceptions import RedisError

from chatapp.bus.client import RedisClient
from chatapp.errors import Unavailable
from chatapp.protocol.ids import UserId

VOUCHES_PER_CALL = 200
"""Users in one call: Redis does nothing else meanwhile, for about a millisecond."""
_SCAN_COUNT = 250
_TIMEOUT_S = 4.0
_CLOSE_TIMEOUT_S = 1.0
_ONLINE, _CLOCK = "chatapp:{presence}:online", "chatapp:{presence}:clock"

# KEYS: online, clock. ARGV: offline_after_s, how many to remove at most, users...
_BEAT = """
local t = redis.call('TIME')
local now = tonumber(t[1]) + tonumber(t[2]) / 1000000
local after = tonumber(ARGV[1])
local clock = redis.call('HMGET', KEYS[2], 'beat', 'since')
local beat, since = tonumber(clock[1]), tonumber(clock[2])
if not beat or not since or now - beat > after / 3 then since = now end
local stamp = string.format('%.6f', now)
redis.call('HSET', KEYS[2], 'beat', stamp, 'since', string.format('%.6f', since))
local came = {}
for i = 3, #ARGV do
  if redis.call('ZADD', KEYS[1], stamp, ARGV[i]) == 1 then came[#came + 1] = ARGV[i] end
end
local gone = {}
local settled = now - since >= after
if settled and tonumber(ARGV[2]) > 0 then
  local limit = string.format('(%.6f', now - after)
  gone = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', limit, 'WITHSCORES', 'LIMIT', 0, ARGV[2])
  for i = 1, #gone, 2 do redis.call('ZREM', KEYS[1], gone[i]) end
end
local keep = math.ceil(after * 10)
redis.call('EXPIRE', KEYS[1], keep)
redis.call('EXPIRE', KEYS[2], keep)
return {stamp, settled and 1 or 0, came, gone}
"""
_SEEN = """
local t = redis.call('TIME')
local seen = {string.format('%.6f', tonumber(t[1]) + tonumber(t[2]) / 1000000)}
for i = 1, #ARGV do seen[i + 1] = redis.call('ZSCORE', KEYS[1], ARGV[i]) or '' end
return seen
"""


class Gone(Struct, frozen=True):
    """Somebody nobody vouches for any more."""

    user_id: UserId
    last_seen: float
    """Unix seconds."""


class Beat(Struct, frozen=True):
    """What one call found."""

    at: float
    """Unix seconds."""
    settled: bool
    """Who is not in the set is offline; else it may not have been vouched for yet."""
    came: list[UserId]
    gone: list[Gone]


class Seen(Struct, frozen=True):
    """Who of those asked for is online."""

    at: float
    online: list[bool]


class PresenceStore(Protocol):
    """Every method may raise ``Unavailable``, within some seconds; then it may have been done all the same."""

    async def beat(self, users: Sequence[UserId], *, remove: int) -> Beat:
        """Vouch for at most ``VOUCHES_PER_CALL`` users, and remove at most ``remove`` whom nobody vouches for.

        Each replica calls it several times in ``offline_after_s / 3``, with or without users.
        """

    async def seen(self, users: Sequence[UserId]) -> Seen:
        """Whether each of at most ``VOUCHES_PER_CALL`` users is online at this moment."""

    def everybody(self) -> AsyncIterator[list[UserId]]:
        """All who are online, in pieces: everyone who is so all the while, perhaps twice."""

    async def end(self, user_id: UserId) -> bool:
        """Remove somebody now; whether he was online."""

    async def close(self) -> None:
        """Close the connections."""


class RedisPresence:
    """A ``PresenceStore``. Both keys have one hash tag, so that they live on one node of a cluster."""

    def __init__(self, client: RedisClient, offline_after_s: float) -> None:
        self._client = client
        self._offline_after_s = offline_after_s
        self._asking: set[asyncio.Task[Any]] = set()

    async def beat(self, users: Sequence[UserId], *, remove: int) -> Beat:
        """See ``PresenceStore``."""
        at, settled, came, gone = await self._ask(
            self._client.commands.eval(_BEAT, 2, _ONLINE, _CLOCK, self._offline_after_s, remove, *users)
        )
        return Beat(
            float(at),
            bool(settled),
            [UserId(int(user)) for user in came],
            [Gone(UserId(int(user)), float(seen)) for user, seen in zip(gone[::2], gone[1::2], strict=True)],
        )

    async def seen(self, users: Sequence[UserId]) -> Seen:
        """See ``PresenceStore``."""
        at, *scores = await self._ask(self._client.commands.eval(_SEEN, 1, _ONLINE, *users))
        return Seen(float(at), [bool(score) for score in scores])

    async def everybody(self) -> AsyncIterator[list[UserId]]:
        """See ``PresenceStore``."""
        cursor = 0
        while True:
            cursor, found = await self._ask(self._client.commands.zscan(_ONLINE, cursor, count=_SCAN_COUNT))
            yield [UserId(int(user)) for user, _ in found]
            if not cursor:
                return

    async def end(self, user_id: UserId) -> bool:
        """See ``PresenceStore``."""
        return bool(await self._ask(self._client.commands.zrem(_ONLINE, user_id)))

    async def close(self) -> None:
        """See ``PresenceStore``."""
        closing = asyncio.get_running_loop().create_task(self._client.close())
        await asyncio.wait((closing, *self._asking), timeout=_CLOSE_TIMEOUT_S)
        closing.cancel()

    async def _ask(self, answer: object) -> Any:
        """In a task that is left behind when it takes too long: redis-py 8.1 can swallow a cancellation."""
        task = asyncio.get_running_loop().create_task(_answered(cast(Awaitable[Any], answer)))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)
        try:
            await asyncio.wait((task,), timeout=_TIMEOUT_S)
        finally:
            task.cancel()
        if not task.done() or (found := task.result()) is None:
            raise Unavailable("Redis is away")
        return found


async def _answered(answer: Awaitable[Any]) -> Any:
    """None when there was none, so that nobody need look at a task that was left behind."""
    try:
        return await answer
    except (RedisError, OSError, TimeoutError):
        return None
