"""SQLAlchemy's pool, with a count of who waits for a connection and how long."""

from __future__ import annotations

from time import monotonic

from msgspec import Struct, field
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry

from chatapp.counting import Histogram


class PoolStats(Struct):
    """Counters since the start, for metrics."""

    waiting: int = 0
    """Callers that wait for a connection now, be it free or opened for them."""
    timeouts: int = 0
    """Callers that gave up, because none was free in time."""
    opened: int = 0
    """Connections that were asked for because no open one was free."""
    wait_s: Histogram = field(default_factory=Histogram)
    """Of those that got one."""


class CountedPool(AsyncAdaptedQueuePool):
    """For ``create_async_engine(poolclass=…)``. ``_do_get`` is what every pool of SQLAlchemy overrides (2.1)."""

    # SQLAlchemy's pools log under the name of their module: this one as quietly as the others.
    __module__ = AsyncAdaptedQueuePool.__module__

    stats: PoolStats | None = None
    """Set by the owner; a pool that takes the place of this one goes on counting in it."""

    def _do_get(self) -> ConnectionPoolEntry:
        stats = self.stats
        if stats is None:
            return super()._do_get()
        began = monotonic()
        stats.waiting += 1
        try:
            entry = super()._do_get()
        except PoolTimeout:
            stats.timeouts += 1
            raise
        finally:
            stats.waiting -= 1
        stats.wait_s.observe(monotonic() - began)
        return entry

    def _create_connection(self) -> ConnectionPoolEntry:
        if self.stats is not None:
            self.stats.opened += 1
        return super()._create_connection()

    def recreate(self) -> CountedPool:
        """See SQLAlchemy: at ``dispose``."""
        made = super().recreate()
        assert isinstance(made, CountedPool)
        made.stats = self.stats
        return made
