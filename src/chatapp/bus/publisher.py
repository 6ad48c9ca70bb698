"""The way out: one connection, one pipeline at a time, and an outbox that keeps what Redis has not confirmed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import hiredis

from chatapp.bus.limits import RedisBusLimits, RedisBusStats
from chatapp.bus.link import Link
from chatapp.bus.outbox import Outbox
from chatapp.bus.port import Delivery
from chatapp.bus.resp import Dial, Reply, RespConnection, pack

_logger = logging.getLogger(__name__)


class Publisher:
    """Publishes to one Redis (one node of a cluster), in the order of the calls.

    A publish that finds nothing under way leaves with the next turn of the event loop, with all that came in the same
    turn; what comes while a pipeline is under way leaves together when that one is confirmed.
    """

    def __init__(
        self,
        dial: Dial,
        limits: RedisBusLimits,
        stats: RedisBusStats,
        *,
        command: bytes,
        name: str,
        on_problem: Callable[[str], None],
    ) -> None:
        """``on_problem`` is told why Redis turned a payload down for now, or that it did not answer."""
        self._limits = limits
        self._stats = stats
        self._command = command
        self._on_problem = on_problem
        self._outbox = Outbox(limit_payloads=limits.outbox_payloads, limit_bytes=limits.outbox_bytes)
        self._link = Link(f"publisher{name}", dial, on_up=self._up, on_down=self._down)
        self._idle = False
        """Connected, nothing is under way, and no send is due."""
        self._under_way = 0
        self._next_confirmed = 0
        self._timeout: asyncio.TimerHandle | None = None
        self._flushes: list[tuple[int, asyncio.Future[None]]] = []

    async def run(self) -> None:
        """Keep connected and publish, until cancelled."""
        await self._link.run()

    def __len__(self) -> int:
        """Payloads that wait for being confirmed."""
        return len(self._outbox)

    @property
    def connected(self) -> bool:
        """There is a connection, which may be dead without knowing it."""
        return self._link.connection is not None

    def has_left(self, place: int) -> bool:
        """Whether the payload of this place (see ``publish``) was confirmed or forgotten."""
        return self._outbox.first > place

    def publish(self, topic: bytes, payload: bytes) -> int:
        """Hand over. Answers its place in the order of everything that was handed over."""
        place = self._outbox.end
        forgotten = self._outbox.add(Delivery(topic, payload))
        if forgotten:
            self._stats.dropped += forgotten
            self._end_flushes()
        if self._idle:
            self._idle = False
            asyncio.get_running_loop().call_soon(self._send)
        return place

    def take(self, leaves: Callable[[bytes], bool]) -> list[Delivery]:
        """Give up the payloads of these topics, in their order: another is to publish them.

        What is under way is given up too, so it may arrive twice, but never after what is published later.
        """
        taken = self._outbox.take(leaves)
        if taken:
            if self._under_way:
                self._link.drop("what is under way has moved")
            self._end_flushes()
        return taken

    def drop(self, reason: str) -> None:
        """End the connection, and connect again."""
        self._link.drop(reason)

    async def flush(self, timeout_s: float) -> bool:
        """See ``Bus.flush``."""
        end, dropped = self._outbox.end, self._stats.dropped
        if self._outbox.first < end:
            left: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            entry = (end, left)
            self._flushes.append(entry)
            try:
                async with asyncio.timeout(timeout_s):
                    await left
            except TimeoutError:
                return False
            finally:
                if entry in self._flushes:
                    self._flushes.remove(entry)
        return self._stats.dropped == dropped

    # -- the connection -----------------------------------------------------------------------------------------------

    def _up(self, connection: RespConnection) -> None:
        connection.on_replies = self._on_replies
        self._send()

    def _down(self) -> None:
        self._stats.retried += self._under_way
        self._under_way = 0
        self._idle = False
        self._stop_timeout()

    def _send(self) -> None:
        connection = self._link.connection
        if connection is None or self._under_way:
            return
        batch = self._outbox.head(most_payloads=self._limits.pipeline_payloads, most_bytes=self._limits.pipeline_bytes)
        if not batch:
            self._idle = True
            return
        self._under_way = len(batch)
        self._next_confirmed = self._outbox.first
        self._timeout = asyncio.get_running_loop().call_later(self._limits.publish_timeout_s, self._timed_out)
        command = self._command
        connection.write(b"".join([pack((command, delivery.topic, delivery.payload)) for delivery in batch]))

    def _on_replies(self, replies: list[Reply]) -> None:
        if len(replies) > self._under_way:
            self._link.drop("an answer that nothing was asked for")
            return
        problem: hiredis.ReplyError | None = None
        for reply in replies:
            if isinstance(reply, hiredis.ReplyError):
                if not str(reply).startswith("NOPERM"):
                    problem = reply  # it and what follows is sent again, so that the order holds
                    break
                _logger.error("bus publisher: Redis refuses a topic: %s", reply)
                self._stats.dropped += 1
            else:
                self._stats.published += 1
            self._next_confirmed += 1
            self._under_way -= 1
        self._outbox.release(self._next_confirmed)
        if self._flushes:
            self._end_flushes()
        if problem is not None:
            self._on_problem(str(problem))
            self._link.drop(f"a publish failed: {problem}")
        elif not self._under_way:
            self._stop_timeout()
            self._send()

    def _timed_out(self) -> None:
        self._timeout = None
        problem = f"a publish was not confirmed in {self._limits.publish_timeout_s} s"
        self._link.drop(problem)
        self._on_problem(problem)

    def _stop_timeout(self) -> None:
        if self._timeout is not None:
            self._timeout.cancel()
            self._timeout = None

    def _end_flushes(self) -> None:
        for end, left in self._flushes:
            if self._outbox.first >= end and not left.done():
                left.set_result(None)
