"""Whether what this replica publishes comes back to it. No I/O and no clock: time is counted in beats."""

from __future__ import annotations

import asyncio


class Heartbeat:
    """Numbers the beats that go out and notes those that come back.

    Counting beats and not seconds forgives a replica that was itself stopped or too busy: while it cannot send, it
    cannot miss anything either.
    """

    def __init__(self, *, missed_limit: int) -> None:
        self._missed_limit = missed_limit
        self._missed = 0
        self._sent = 0
        self._waits: list[tuple[int, asyncio.Future[None]]] = []
        self.alive = False
        """A beat came back over the present connection, and not too many were missed since."""

    def next_beat(self) -> bytes:
        """The payload to publish."""
        self._sent += 1
        return b"%d" % self._sent

    def tick(self) -> bool:
        """One interval has passed. True when so many passed without a beat that the way must be taken for dead."""
        self._missed += 1
        if self._missed < self._missed_limit:
            return False
        self.restart()
        return True

    def restart(self) -> None:
        """The connection is gone, or a new one begins: nothing has come back over it."""
        self.alive = False
        self._missed = 0

    def came_back(self, payload: bytes) -> None:
        """A payload of the heartbeat's own topic arrived; anything but a beat of ours is ignored."""
        if not payload.isdigit() or len(payload) > 20:
            return
        number = int(payload)
        if number > self._sent:
            return
        self.alive = True
        self._missed = 0
        waits, self._waits = self._waits, []
        for wanted, done in waits:
            if number < wanted:
                self._waits.append((wanted, done))
            elif not done.done():
                done.set_result(None)

    async def wait_for_latest(self) -> None:
        """Until the last beat that was numbered (or a later one) is back. Bound it with a timeout."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (self._sent, done)
        self._waits.append(entry)
        try:
            await done
        finally:
            if entry in self._waits:
                self._waits.remove(entry)
