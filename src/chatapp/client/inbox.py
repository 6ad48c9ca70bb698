"""What waits for the reader of a session: a queue that knows its bound, and its end."""

from __future__ import annotations

import asyncio
from collections import deque

from chatapp.client.events import CaughtUp, Connected, Reconnecting, SessionEvent

_STATES_BEYOND = 64
"""Events of the connection may pass the bound by so many, so that a reader who is behind still learns of it."""


class Inbox:
    """One reader, one writer. ``limit``: events."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._events: deque[SessionEvent] = deque()
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._over = False
        self._error: Exception | None = None

    @property
    def has_room(self) -> bool:
        """Whether one more fits."""
        return len(self._events) < self._limit

    @property
    def is_half_empty(self) -> bool:
        """Whether it is worth while to fetch what did not fit."""
        return len(self._events) * 2 <= self._limit

    def put(self, event: SessionEvent) -> None:
        """Keep an event. Of too many that tell of the connection, the newest are dropped."""
        if isinstance(event, Connected | CaughtUp | Reconnecting) and len(self._events) >= self._limit + _STATES_BEYOND:
            return
        self._events.append(event)
        self._changed.set()
        if not self.has_room:
            self._room.clear()

    def end(self, error: Exception | None) -> None:
        """Nothing more comes; after what is there, the reader gets this error, or the end."""
        if not self._over:
            self._over, self._error = True, error
            self._changed.set()
            self._room.set()

    async def take(self) -> SessionEvent | None:
        """The next event; None at the end. Raises the error that it ended with."""
        while not self._events:
            if self._over:
                if self._error is not None:
                    raise self._error
                return None
            self._changed.clear()
            await self._changed.wait()
        event = self._events.popleft()
        if self.has_room:
            self._room.set()
        return event

    async def room(self) -> None:
        """Wait until one more fits."""
        await self._room.wait()
