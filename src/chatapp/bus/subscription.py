"""Which topics are wanted, which were asked for and which are confirmed. No I/O and no clock.

A connection answers its commands in their order, each topic of a command once. So it is enough to count, for each
topic, the answers that are still to come: with none to come, the last command that was sent holds. What callers want
changes only the set of wanted topics; ``commands`` turns the difference into as few commands as possible, so calls
that race each other end in the state of the last one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from msgspec import Struct

_WINDOW_TOPICS = 4096
"""Topics whose answers may be outstanding at once: 100,000 topics must not fill the server's output buffer."""
_CHUNK_TOPICS = 512
"""Topics in one command: the server does nothing else while it works on one."""


class Wait:
    """A caller who waits until all of its topics are confirmed."""

    def __init__(self, topics: set[bytes], done: asyncio.Future[bool]) -> None:
        self.missing = topics
        self._withdrawn = False
        self._done = done

    def confirmed(self, topic: bytes) -> None:
        """One less to wait for."""
        self.missing.discard(topic)
        self.settle()

    def withdrawn(self, topic: bytes) -> None:
        """Nobody wants it any more: not waited for, and the answer will be False."""
        self._withdrawn = True
        self.confirmed(topic)

    def settle(self) -> None:
        """Answer when nothing is missing."""
        if not self.missing:
            self.answer(not self._withdrawn)

    def answer(self, whole: bool) -> None:
        """Answer now, unless it was answered (or its caller has gone)."""
        if not self._done.done():
            self._done.set_result(whole)


class Commands(Struct, frozen=True):
    """What is to be sent, each inner list as one command."""

    subscribe: list[list[bytes]]
    unsubscribe: list[list[bytes]]


class Subscription:
    """The state of one subscriber connection and of everybody who waits for it.

    ``always`` is a topic that is wanted all the time, asked for before all others and not counted by ``len``.
    """

    def __init__(self, always: bytes) -> None:
        self._always = always
        self.wanted: set[bytes] = set()
        self._asked: set[bytes] = set()
        self._answers_due: dict[bytes, int] = {}
        self._changed: set[bytes] = set()
        self._waits: dict[bytes, list[Wait]] = {}
        self._owed: set[bytes] = set()
        self._gap = False
        self._open = False

    def __len__(self) -> int:
        return len(self.wanted)

    @property
    def ready(self) -> bool:
        """The connection is open and hears ``always``."""
        return self._is_confirmed(self._always)

    # -- what callers want --------------------------------------------------------------------------------------------

    def want(self, topics: Collection[bytes], done: asyncio.Future[bool]) -> Wait:
        """From now on. ``done`` becomes True when all are confirmed, False when one was withdrawn meanwhile."""
        self.wanted.update(topics)
        wait = Wait({topic for topic in topics if not self._is_confirmed(topic)}, done)
        if self._open:
            self._changed |= wait.missing
        for topic in wait.missing:
            self._waits.setdefault(topic, []).append(wait)
        wait.settle()
        return wait

    def withdraw(self, topics: Collection[bytes]) -> None:
        """No longer wanted; nobody waits for them any more."""
        self.wanted.difference_update(topics)
        self._owed.difference_update(topics)
        if self._open:
            self._changed.update(topics)
        for topic in topics:
            for wait in self._waits.pop(topic, ()):
                wait.withdrawn(topic)

    def give_up(self, wait: Wait) -> None:
        """Its caller waits no more. What is still missing stays wanted and is owed a gap once it is confirmed."""
        for topic in wait.missing:
            waits = self._waits.get(topic, [])
            if wait in waits:
                waits.remove(wait)
            if not waits:
                self._waits.pop(topic, None)
            self._owe(topic)

    def give_up_all(self) -> None:
        """Nothing will be confirmed any more: all waits end with False."""
        for waits in self._waits.values():
            for wait in waits:
                wait.answer(False)
        self._waits.clear()

    # -- what the connection does -------------------------------------------------------------------------------------

    def opened(self) -> None:
        """A new connection, which hears nothing yet."""
        self._open = True
        self._changed = self.wanted | {self._always}

    def lost(self) -> None:
        """The connection is gone. All that it heard, or was to hear, is owed a gap."""
        self._open = False
        self._asked.clear()
        self._answers_due.clear()
        self._changed.clear()
        self._owe(self._always)
        self._owed |= self.wanted

    def commands(self) -> Commands:
        """What to send now. Ask again after an answer came: no more than a window of topics is outstanding."""
        subscribe: list[bytes] = []
        unsubscribe: list[bytes] = []
        if self._always in self._changed:
            self._changed.discard(self._always)
            self._ask(self._always, subscribe)
        while self._changed and len(self._answers_due) < _WINDOW_TOPICS:
            topic = self._changed.pop()
            wanted, asked = topic in self.wanted, topic in self._asked
            if wanted and not asked:
                self._ask(topic, subscribe)
            elif asked and not wanted:
                self._asked.discard(topic)
                self._expect_answer(topic, unsubscribe)
        return Commands(_chunks(subscribe), _chunks(unsubscribe))

    def answered(self, topic: bytes) -> None:
        """The connection confirmed a subscribe or an unsubscribe of this topic."""
        due = self._answers_due.get(topic, 0)
        if due > 1:
            self._answers_due[topic] = due - 1
            return
        self._answers_due.pop(topic, None)
        if topic in self._asked:
            self._owed.discard(topic)
            for wait in self._waits.pop(topic, ()):
                wait.confirmed(topic)

    def take_gap(self) -> bool:
        """True once after all that was owed a gap is confirmed: tell the listener."""
        if not self._gap or self._owed:
            return False
        self._gap = False
        return True

    def _owe(self, topic: bytes) -> None:
        self._gap = True
        self._owed.add(topic)

    def _is_confirmed(self, topic: bytes) -> bool:
        return topic in self._asked and topic not in self._answers_due

    def _ask(self, topic: bytes, command: list[bytes]) -> None:
        self._asked.add(topic)
        self._expect_answer(topic, command)

    def _expect_answer(self, topic: bytes, command: list[bytes]) -> None:
        self._answers_due[topic] = self._answers_due.get(topic, 0) + 1
        command.append(topic)


def _chunks(topics: list[bytes]) -> list[list[bytes]]:
    return [topics[start : start + _CHUNK_TOPICS] for start in range(0, len(topics), _CHUNK_TOPICS)]
