"""Which line each slot of a cluster takes now, and what has to move when that changes. No I/O."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence

from chatapp.bus.line import Line
from chatapp.bus.slots import SLOTS, slot_of


class Routes:
    """At any time all that waits and all that is wanted of a slot is at one line: so its order is kept."""

    def __init__(self, line: Line) -> None:
        """All slots take this line at first."""
        self._lines: list[Line] = [line] * SLOTS
        self._wanted: defaultdict[int, set[bytes]] = defaultdict(set)

    def of(self, slot: int) -> Line:
        """The line that the slot takes."""
        return self._lines[slot]

    def want(self, topics: Collection[bytes]) -> dict[Line, set[bytes]]:
        """Remember that they are wanted. Answers at which line each of them is to be subscribed."""
        parts: defaultdict[Line, set[bytes]] = defaultdict(set)
        for topic in topics:
            slot = slot_of(topic)
            self._wanted[slot].add(topic)
            parts[self._lines[slot]].add(topic)
        return parts

    def withdraw(self, topics: Collection[bytes]) -> dict[Line, set[bytes]]:
        """Forget them. Answers at which line each of them is to be unsubscribed."""
        parts: defaultdict[Line, set[bytes]] = defaultdict(set)
        for topic in topics:
            slot = slot_of(topic)
            parts[self._lines[slot]].add(topic)
            if slot in self._wanted:
                self._wanted[slot].discard(topic)
                if not self._wanted[slot]:
                    del self._wanted[slot]
        return parts

    def replace(self, lines: Sequence[Line]) -> int:
        """From now on each slot takes the line in its place here. Answers how many slots moved.

        What a slot's old line had to hear or to publish is moved to its new one.
        """
        before, self._lines = self._lines, list(lines)
        moved: defaultdict[Line, set[int]] = defaultdict(set)
        for slot, (old, new) in enumerate(zip(before, lines, strict=True)):
            if old is not new:
                moved[old].add(slot)
        for old, slots in moved.items():
            self._move_subscriptions(old, slots)
            self._move_payloads(old, slots)
        return sum(map(len, moved.values()))

    def _move_subscriptions(self, old: Line, slots: set[int]) -> None:
        parts: defaultdict[Line, set[bytes]] = defaultdict(set)
        for slot in slots & self._wanted.keys():
            parts[self._lines[slot]] |= self._wanted[slot]
        for new, topics in parts.items():
            old.subscriber.unsubscribe(topics)
            new.subscriber.take_over(topics)

    def _move_payloads(self, old: Line, slots: set[int]) -> None:
        for delivery in old.publisher.take(lambda topic: slot_of(topic) in slots):
            if delivery.topic != old.own_topic:  # a beat proves something of its own line only
                self._lines[slot_of(delivery.topic)].publisher.publish(delivery.topic, delivery.payload)
