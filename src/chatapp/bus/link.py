"""Keeps one connection to Redis open for as long as its owner runs it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from chatapp.bus.backoff import Backoff
from chatapp.bus.resp import Dial, Refused, RespConnection

_logger = logging.getLogger(__name__)

_FIRST_RETRY_S = 0.05
_MOST_RETRY_S = 1.0
_LASTING_S = 1.0
"""A connection that held this long counts as a success; one that did not makes the next attempt wait longer."""


class Link:
    """Connects, and connects again, with backoff (50 ms to 1 s, with jitter).

    ``on_up`` and ``on_down`` are called in turn on the event loop, beginning with ``on_up``.
    """

    def __init__(
        self, name: str, dial: Dial, *, on_up: Callable[[RespConnection], None], on_down: Callable[[], None]
    ) -> None:
        self._name = name
        self._dial = dial
        self._on_up = on_up
        self._on_down = on_down
        self._away = False
        self.connection: RespConnection | None = None
        """Between ``on_up`` and ``on_down``."""

    async def run(self) -> None:
        """Until cancelled."""
        backoff = Backoff(first_s=_FIRST_RETRY_S, most_s=_MOST_RETRY_S)
        while True:
            try:
                lasted_s = await self._connect_once()
            except Exception:
                _logger.exception("bus %s: unexpected failure", self._name)
                lasted_s = 0.0
            if lasted_s >= _LASTING_S:
                backoff.reset()
            await asyncio.sleep(backoff.next_s())

    def drop(self, reason: str) -> None:
        """The connection is useless: end it, and connect again."""
        if self.connection is not None:
            _logger.warning("bus %s: dropping the connection: %s", self._name, reason)
            self.connection.abort()

    async def _connect_once(self) -> float:
        """Hold one connection to its end. Seconds that it lasted."""
        loop = asyncio.get_running_loop()
        try:
            connection = await self._dial()
        except (OSError, Refused) as problem:
            level = logging.DEBUG if self._away else logging.WARNING  # once an outage, not once an attempt
            _logger.log(level, "bus %s: no connection: %s", self._name, str(problem) or type(problem).__name__)
            self._away = True
            return 0.0
        self._away = False
        began = loop.time()
        _logger.info("bus %s: connected", self._name)
        self.connection = connection
        try:
            self._on_up(connection)
            await connection.closed
        finally:
            self.connection = None
            connection.abort()
            self._on_down()
        _logger.warning("bus %s: the connection ended", self._name)
        return loop.time() - began
