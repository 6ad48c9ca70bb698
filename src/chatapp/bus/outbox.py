"""What waits to be published: in order, bounded, and kept until it is confirmed. No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import islice

from chatapp.bus.port import Delivery


class Outbox:
    """A queue whose head stays until it is released, so that it can be sent again.

    Everything that was ever added has a place: 0, 1, 2 … Past either bound the oldest is forgotten, also when it has
    been sent and not been released: a late event is worth less than a new one, and readers recover from PostgreSQL.
    """

    def __init__(self, *, limit_payloads: int, limit_bytes: int) -> None:
        self._limit_payloads = limit_payloads
        self._limit_bytes = limit_bytes
        self._waiting: deque[Delivery] = deque()
        self._bytes = 0
        self._first = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def size_bytes(self) -> int:
        """Of topics and payloads together."""
        return self._bytes

    @property
    def first(self) -> int:
        """The place of the head: everything before it was released or forgotten."""
        return self._first

    @property
    def end(self) -> int:
        """The place that the next payload takes."""
        return self._first + len(self._waiting)

    def add(self, delivery: Delivery) -> int:
        """Put at the end. Answers how many were forgotten for it; itself, when it alone exceeds the bound."""
        self._waiting.append(delivery)
        self._bytes += _size(delivery)
        forgotten = 0
        while self._bytes > self._limit_bytes or len(self._waiting) > self._limit_payloads:
            self._pop()
            forgotten += 1
        return forgotten

    def head(self, *, most_payloads: int, most_bytes: int) -> list[Delivery]:
        """The oldest, from ``first`` on, within these bounds; at least one if any waits. They stay in the outbox."""
        head: list[Delivery] = []
        size = 0
        for delivery in islice(self._waiting, most_payloads):
            size += _size(delivery)
            if head and size > most_bytes:
                break
            head.append(delivery)
        return head

    def release(self, place: int) -> None:
        """Everything before this place is done."""
        while self._waiting and self._first < place:
            self._pop()

    def take(self, leaves: Callable[[bytes], bool]) -> list[Delivery]:
        """Remove the payloads of these topics, in their order. Those that stay move up to the places before ``end``."""
        taken = [delivery for delivery in self._waiting if leaves(delivery.topic)]
        if taken:
            self._waiting = deque(delivery for delivery in self._waiting if not leaves(delivery.topic))
            self._bytes -= sum(map(_size, taken))
            self._first += len(taken)
        return taken

    def _pop(self) -> None:
        self._bytes -= _size(self._waiting.popleft())
        self._first += 1


def _size(delivery: Delivery) -> int:
    return len(delivery.topic) + len(delivery.payload)
