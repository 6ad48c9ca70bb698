"""The writer: all messages that wait are stored by one statement, so a busy replica commits in groups.

While a group is under way the next one gathers; a lone sender waits for nobody. Within a chat the order of ``append``
is the order of ``seq`` for messages of this replica. A chat that somebody else has locked (another replica writes to
it, or a long transaction holds it) leaves the group for a lane of its own and holds up nobody else.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from time import monotonic

import asyncpg
from msgspec import Struct, field

from chatapp.counting import Histogram, sizes
from chatapp.errors import ChatAppError, Invalid, NonceReused, NotAMember, Overloaded, Unavailable
from chatapp.protocol.ids import ChatId, MessageId, Seq, UserId
from chatapp.storage.engine import Database, is_away
from chatapp.tracing import spans
from chatapp.tracing.port import Span, Tracer
from chatapp.tracing.work import current_span

_log = logging.getLogger(__name__)

_STATEMENT = "SELECT * FROM append_messages($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5)"
_STORED, _SAME, _OTHER, _NOT_A_MEMBER, _LOCKED = range(5)
_OVERHEAD_BYTES = 200


class Appended(Struct, frozen=True):
    """A message that is on disk."""

    message_id: MessageId
    seq: Seq
    created_at: datetime
    username: str
    repeated: bool
    """It was there before, under the same nonce; it has been published then."""


Answer = Callable[[Appended | ChatAppError], None]


class Append(Struct, eq=False):
    """A message that waits to be stored, and whom to tell."""

    sender_id: UserId
    chat_id: ChatId
    content: str
    nonce: str | None
    answer: Answer
    submitted_at: float
    """Seconds, monotonic."""
    settled: bool = False
    """It was answered, and no longer counts as waiting."""
    span: Span | None = None
    """What it is sent for, where that is traced and sampled."""


class WriterLimits(Struct, frozen=True):
    """Bounds of one replica's writer."""

    waiting: int = 20_000
    """Messages that may wait; past it ``Overloaded``."""
    waiting_bytes: int = 64 * 1024 * 1024
    group: int = 512
    """Messages in one statement."""
    lanes: int = 4
    """Chats whose lock is waited for at the same time."""


class WriterStats(Struct):
    """Counters since the start, for metrics."""

    groups: int = 0
    stored: int = 0
    repeated: int = 0
    refused: int = 0
    failed: int = 0
    contended: int = 0
    group_sizes: Histogram = field(default_factory=sizes)
    statement_s: Histogram = field(default_factory=Histogram)
    """A group's statement with its commit, there and back."""
    send_to_commit_s: Histogram = field(default_factory=Histogram)
    """Of each message that was newly stored: from ``submit`` to the answer that it is on disk."""


Committed = Callable[[Sequence[tuple[Append, Appended]]], None]


class MessageWriter:
    """One for each replica. ``committed`` is told what was newly stored, in order, before anybody is answered."""

    def __init__(
        self,
        database: Database,
        committed: Committed,
        limits: WriterLimits | None = None,
        *,
        tracer: Tracer | None = None,
    ) -> None:
        self._tracer = tracer
        self._database = database
        self._line = database.line()
        self._committed = committed
        self._limits = limits or WriterLimits()
        self._waiting: deque[Append] = deque()
        self._held: dict[ChatId, deque[Append]] = {}
        self._count = 0
        self._bytes = 0
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._lanes = asyncio.Semaphore(self._limits.lanes)
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        self.stats = WriterStats()

    def start(self) -> None:
        """Begin to write. Needs a running loop."""
        self._spawn(self._run())

    @property
    def waiting(self) -> int:
        """Messages that were handed over and are not answered yet."""
        return self._count

    def append(self, sender_id: UserId, chat_id: ChatId, content: str, nonce: str | None) -> asyncio.Future[Appended]:
        """``submit``, with a future that has the answer. Cancelling it does not take the message back."""
        future: asyncio.Future[Appended] = asyncio.get_running_loop().create_future()

        def answer(outcome: Appended | ChatAppError) -> None:
            if future.done():
                return
            if isinstance(outcome, Appended):
                future.set_result(outcome)
            else:
                future.set_exception(outcome)

        span = None if self._tracer is None else current_span()
        self.submit(sender_id, chat_id, content, nonce, answer, span)
        return future

    def submit(
        self,
        sender_id: UserId,
        chat_id: ChatId,
        content: str,
        nonce: str | None,
        answer: Answer,
        span: Span | None = None,
    ) -> None:
        """Hand a message over. ``answer`` is called once: it is on disk, or why not.

        Raises ``Overloaded`` at once past the bounds or while closing. The answer may be ``NotAMember``,
        ``NonceReused``, or ``Unavailable`` (then it is not known whether it was stored, and only a nonce makes a retry
        safe). It must return soon and not raise.
        """
        limits = self._limits
        if self._closing or self._count >= limits.waiting or self._bytes >= limits.waiting_bytes:
            self.stats.refused += 1
            raise Overloaded
        append = Append(sender_id, chat_id, content, nonce, answer, monotonic(), False, span)
        self._count += 1
        self._bytes += len(content) + _OVERHEAD_BYTES
        self._idle.clear()
        self._waiting.append(append)
        self._wake.set()

    async def close(self, timeout_s: float = 5.0) -> None:
        """Take nothing more, store what waits (at most ``timeout_s``), and end. What is left is ``Unavailable``."""
        self._closing = True
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            _log.warning("the writer closes with %d messages not stored", self._count)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._line.close()
        for append in [*self._waiting, *(a for held in self._held.values() for a in held)]:
            self._fail(append, Unavailable())

    # -- the group, and the lanes of locked chats -----------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            group = self._take()
            if not group:
                self._wake.clear()
                continue
            locked = await self._store(group, wait=False)
            for append in locked:
                self.stats.contended += 1
                self._hold(append)

    def _take(self) -> list[Append]:
        """The next group: in order, no nonce twice in it (the second asks again after the first is stored)."""
        group: list[Append] = []
        nonces: set[tuple[UserId, str]] = set()
        waiting = self._waiting
        while waiting and len(group) < self._limits.group:
            append = waiting[0]
            if append.chat_id in self._held:
                self._held[append.chat_id].append(waiting.popleft())
                continue
            if append.nonce is not None:
                key = (append.sender_id, append.nonce)
                if key in nonces:
                    break
                nonces.add(key)
            group.append(waiting.popleft())
        return group

    def _hold(self, append: Append) -> None:
        held = self._held.get(append.chat_id)
        if held is None:
            held = self._held[append.chat_id] = deque()
            self._spawn(self._wait_for(append.chat_id, held))
        held.append(append)

    async def _wait_for(self, chat_id: ChatId, held: deque[Append]) -> None:
        """A locked chat's lane: wait for the lock, store all that gathered, until nothing does."""
        async with self._lanes:
            while held:
                group: list[Append] = []
                nonces: set[tuple[UserId, str]] = set()
                while held and len(group) < self._limits.group:
                    key = (held[0].sender_id, held[0].nonce or "")
                    if held[0].nonce is not None and key in nonces:
                        break
                    nonces.add(key)
                    group.append(held.popleft())
                await self._store(group, wait=True)
        del self._held[chat_id]

    # -- one statement --------------------------------------------------------------------------------------------

    async def _store(self, group: list[Append], *, wait: bool) -> list[Append]:
        """Store a group and answer everybody in it, whatever happens; returns those whose chat is locked."""
        try:
            return await self._attempt(group, wait=wait)
        except Unavailable as away:
            # What had a nonce may be tried again at once (a terminated backend); the rest may or may not be stored.
            again = [append for append in group if append.nonce is not None]
            for append in group:
                if append.nonce is None:
                    self._fail(append, away)
            return await self._one_by_one(again, wait=wait, away=away) if again else []
        except asyncio.CancelledError:
            for append in group:
                self._fail(append, Unavailable())
            raise
        except Exception as poison:  # noqa: BLE001 (whatever PostgreSQL rejects: find whose it is)
            _log.info("a group of %d was rejected (%s): storing one by one", len(group), type(poison).__name__)
            return await self._one_by_one(group, wait=wait, away=None)

    async def _one_by_one(self, group: list[Append], *, wait: bool, away: Unavailable | None) -> list[Append]:
        if away is not None:
            try:
                return await self._attempt(group, wait=wait)
            except Unavailable as still:
                for append in group:
                    self._fail(append, still)
                return []
            except Exception:  # noqa: BLE001 (one of them is poisoned: go on below)
                _log.info("a group was rejected after a reconnection: storing one by one")
        locked: list[Append] = []
        for append in group:
            if any(earlier.chat_id == append.chat_id for earlier in locked):
                locked.append(append)  # the order of a chat's messages stays
                continue
            for attempt in (1, 2, 3):
                try:
                    locked += await self._attempt([append], wait=wait)
                except asyncpg.UniqueViolationError:
                    if attempt == 3:
                        self._fail(append, Unavailable())
                    continue  # its nonce was stored meanwhile in another chat: read again
                except ChatAppError as error:
                    self._fail(append, error)
                except Exception as error:  # noqa: BLE001
                    _log.warning("a message was rejected: %s", type(error).__name__)
                    self._fail(append, Invalid("the message cannot be stored"))
                break
        return locked

    async def _attempt(self, group: list[Append], *, wait: bool) -> list[Append]:
        began = monotonic()
        try:
            if self._tracer is None:
                rows = await self._fetch(group, wait=wait)
            else:
                with spans.commit(self._tracer, [a.span for a in group if a.span is not None], len(group)):
                    rows = await self._fetch(group, wait=wait)
        except Exception as error:
            if is_away(error):
                raise Unavailable("the database is temporarily unavailable") from error
            raise
        now = monotonic()
        self.stats.groups += 1
        self.stats.group_sizes.observe(len(group))
        self.stats.statement_s.observe(now - began)
        return self._answer(group, rows, now)

    async def _fetch(self, group: list[Append], *, wait: bool) -> Sequence[asyncpg.Record]:
        # Groups follow each other on one connection; lanes take theirs from the pool.
        async with self._database.driver() if wait else self._line.driver() as connection:
            rows: Sequence[asyncpg.Record] = await connection.fetch(
                _STATEMENT,
                [a.sender_id for a in group],
                [a.chat_id for a in group],
                [a.content for a in group],
                [a.nonce for a in group],
                wait,
            )
            return rows

    def _answer(self, group: list[Append], rows: Sequence[asyncpg.Record], now: float) -> list[Append]:
        locked: list[Append] = []
        fresh: list[tuple[Append, Appended]] = []
        answers: list[tuple[Append, Appended]] = []
        for append, (_, outcome, message_id, seq, created_at, username) in zip(group, rows, strict=True):
            if outcome in (_STORED, _SAME):
                appended = Appended(message_id, seq, created_at, username or "", outcome == _SAME)
                answers.append((append, appended))
                if outcome == _STORED:
                    self.stats.send_to_commit_s.observe(now - append.submitted_at)
                    fresh.append((append, appended))
            elif outcome == _LOCKED:
                locked.append(append)
            else:
                self._fail(append, NonceReused() if outcome == _OTHER else NotAMember())
        self.stats.stored += len(fresh)
        self.stats.repeated += len(answers) - len(fresh)
        if fresh:
            self._committed(fresh)
        for append, appended in answers:
            self._settle(append, appended)
        return locked

    # -- bookkeeping ----------------------------------------------------------------------------------------------

    def _fail(self, append: Append, error: ChatAppError) -> None:
        if append.settled:
            return
        self.stats.failed += 1
        self._settle(append, error)

    def _settle(self, append: Append, outcome: Appended | ChatAppError) -> None:
        append.settled = True
        self._count -= 1
        self._bytes -= len(append.content) + _OVERHEAD_BYTES
        if self._count == 0:
            self._idle.set()
        try:
            append.answer(outcome)
        except Exception:  # noqa: BLE001 (the others of the group are answered all the same)
            _log.exception("an answer could not be taken")

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
