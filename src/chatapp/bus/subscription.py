"""Which topics are wanted, which were asked for and which are confirmed. No I/O and no clock.

A connection answers its commands in their order, each topic of a command once, or a command as a whole with an error.
So it is enough to count, for each topic, the answers that are still to come: with none to come, the last command that
was sent holds. What callers want changes only the set of wanted topics; ``commands`` turns the difference into as few
commands as possible, so calls that race each other end in the state of the last one.

A node of a cluster also takes topics away by itself, when their slot moves. What was turned down or taken away is set
aside until ``retry``, or until it is withdrawn because another node has it now.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Collection
from enum import Enum, auto

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


class Answer(Enum):
    """What to make of something that the connection said."""

    EXPECTED = auto()
    REFUSAL = auto()
    """Something that is wanted is not heard: find out who has it now, or ``retry``."""
    UNFITTING = auto()
    """Nothing like it was asked for: what the connection hears is not known any more."""


class Commands(Struct, frozen=True):
    """What is to be sent, each inner list as one command."""

    subscribe: list[list[bytes]]
    unsubscribe: list[list[bytes]]


class _Sent:
    """A command that is not answered whole yet."""

    def __init__(self, topics: list[bytes], *, subscribes: bool) -> None:
        self.topics = topics
        self.subscribes = subscribes
        self.answers = 0

    def expects(self, topic: bytes, *, subscribed: bool) -> bool:
        return self.subscribes is subscribed and self.topics[self.answers] == topic


class Subscription:
    """The state of one subscriber connection and of everybody who waits for it.

    ``always`` is a topic that is wanted all the time, asked for before all others and not counted by ``len``. Topics
    may share a command when ``group`` says the same of them.
    """

    def __init__(self, always: bytes, group: Callable[[bytes], int]) -> None:
        self._always = always
        self._group = group
        self.wanted: set[bytes] = set()
        self._asked: set[bytes] = set()
        self._answers_due: dict[bytes, int] = {}
        self._changed: set[bytes] = set()
        self._waits: dict[bytes, list[Wait]] = {}
        self._sent: deque[_Sent] = deque()
        self._aside: set[bytes] = set()
        self._owed: set[bytes] = set()
        """A gap is told when all of these are confirmed."""
        self._late: set[bytes] = set()
        """Each of these makes a gap when it is confirmed, and none of the others waits for it."""
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

    def take_over(self, topics: Collection[bytes]) -> None:
        """Wanted from now on; another connection heard them until now, so they are owed a gap."""
        self.wanted.update(topics)
        for topic in topics:
            if self._is_confirmed(topic):
                self._gap = True
            else:
                self._owe(topic)
        if self._open:
            self._changed.update(topics)

    def withdraw(self, topics: Collection[bytes]) -> None:
        """No longer wanted; nobody waits for them any more."""
        self.wanted.difference_update(topics)
        for state in (self._owed, self._late, self._aside):
            state.difference_update(topics)
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
        for state in (self._asked, self._answers_due, self._changed, self._sent, self._late, self._aside):
            state.clear()
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
        commands = Commands(self._chunks(subscribe), self._chunks(unsubscribe))
        self._sent.extend(_Sent(topics, subscribes=True) for topics in commands.subscribe)
        self._sent.extend(_Sent(topics, subscribes=False) for topics in commands.unsubscribe)
        return commands

    def answered(self, topic: bytes, *, subscribed: bool) -> Answer:
        """The connection says that this topic is subscribed, or not subscribed, from now on."""
        if not self._sent or not self._sent[0].expects(topic, subscribed=subscribed):
            return Answer.UNFITTING if subscribed else self._taken_away(topic)
        sent = self._sent[0]
        sent.answers += 1
        if sent.answers == len(sent.topics):
            self._sent.popleft()
        if self._was_last_answer(topic) and topic in self._asked:
            self._owed.discard(topic)
            if topic in self._late:
                self._late.discard(topic)
                self._gap = True
            for wait in self._waits.pop(topic, ()):
                wait.confirmed(topic)
        return Answer.EXPECTED

    def refused(self) -> Answer:
        """The connection turned down the command whose answers are due."""
        if not self._sent or self._sent[0].answers:
            return Answer.UNFITTING
        for topic in self._sent.popleft().topics:
            if self._was_last_answer(topic) and topic in self._asked:
                self._set_aside(topic)
        return Answer.REFUSAL

    def retry(self) -> None:
        """Ask once more for what was set aside."""
        self._changed |= self._aside
        self._aside.clear()

    def take_gap(self) -> bool:
        """True once after all that was owed a gap is confirmed: tell the listener."""
        if not self._gap or self._owed:
            return False
        self._gap = False
        return True

    def _owe(self, topic: bytes) -> None:
        self._gap = True
        self._owed.add(topic)

    def _taken_away(self, topic: bytes) -> Answer:
        if topic in self._asked and topic not in self._answers_due:  # else a later answer decides
            self._set_aside(topic)
        return Answer.REFUSAL

    def _set_aside(self, topic: bytes) -> None:
        self._asked.discard(topic)
        self._owed.discard(topic)
        self._aside.add(topic)
        self._late.add(topic)

    def _was_last_answer(self, topic: bytes) -> bool:
        due = self._answers_due.get(topic, 0)
        if due > 1:
            self._answers_due[topic] = due - 1
            return False
        self._answers_due.pop(topic, None)
        return True

    def _is_confirmed(self, topic: bytes) -> bool:
        return topic in self._asked and topic not in self._answers_due

    def _ask(self, topic: bytes, command: list[bytes]) -> None:
        self._asked.add(topic)
        self._aside.discard(topic)
        self._expect_answer(topic, command)

    def _expect_answer(self, topic: bytes, command: list[bytes]) -> None:
        self._answers_due[topic] = self._answers_due.get(topic, 0) + 1
        command.append(topic)

    def _chunks(self, topics: list[bytes]) -> list[list[bytes]]:
        groups: defaultdict[int, list[bytes]] = defaultdict(list)
        for topic in topics:
            groups[self._group(topic)].append(topic)
        return [
            group[start : start + _CHUNK_TOPICS]
            for group in groups.values()
            for start in range(0, len(group), _CHUNK_TOPICS)
        ]
