"""Whatever callers want and however connections come and go: in the end the server and the callers agree."""

from __future__ import annotations

import asyncio
from collections import deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from chatapp.bus.subscription import Subscription, Wait

OWN = b"own"
TOPICS = st.sets(st.sampled_from([b"a", b"b", b"c"]), min_size=1)


class AgainstAServer(RuleBasedStateMachine):
    """The model: a server that works through commands in order, and the topics that the last calls want."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.subscription = Subscription(OWN)
        self.wanted: set[bytes] = set()
        self.heard_by_server: set[bytes] = set()
        self.commands: deque[tuple[bool, bytes]] = deque()
        self.open = False
        self.gap_due: set[bytes] = set()
        """What must be heard again before a gap may be told."""
        self.waiting: list[tuple[set[bytes], Wait, asyncio.Future[bool]]] = []

    def teardown(self) -> None:
        self.loop.close()

    @rule(topics=TOPICS)
    def subscribe(self, topics: set[bytes]) -> None:
        self.wanted |= topics
        done: asyncio.Future[bool] = self.loop.create_future()
        self.waiting.append((topics, self.subscription.want(topics, done), done))

    @rule(topics=TOPICS)
    def unsubscribe(self, topics: set[bytes]) -> None:
        self.wanted -= topics
        self.gap_due -= topics
        self.subscription.withdraw(topics)
        for asked, _, done in self.waiting:
            if asked <= topics:
                assert done.done(), "it must not wait for what nobody wants"

    @rule()
    @precondition(lambda self: self.waiting)
    def give_up(self) -> None:
        _, wait, done = self.waiting.pop(0)
        if not done.done():
            self.subscription.give_up(wait)

    @rule()
    @precondition(lambda self: not self.open)
    def connect(self) -> None:
        self.open = True
        self.subscription.opened()

    @rule()
    @precondition(lambda self: self.open)
    def lose_the_connection(self) -> None:
        self.open = False
        self.gap_due = self.wanted | {OWN}
        self.heard_by_server.clear()
        self.commands.clear()
        self.subscription.lost()

    @rule()
    @precondition(lambda self: self.open)
    def send(self) -> None:
        commands = self.subscription.commands()
        self.commands.extend((True, topic) for command in commands.subscribe for topic in command)
        self.commands.extend((False, topic) for command in commands.unsubscribe for topic in command)

    @rule()
    @precondition(lambda self: self.commands)
    def answer(self) -> None:
        hear, topic = self.commands.popleft()
        (self.heard_by_server.add if hear else self.heard_by_server.discard)(topic)
        self.subscription.answered(topic)

    @rule()
    @precondition(lambda self: self.open)
    def settle(self) -> None:
        """After everything is sent and answered, all agree and nobody waits."""
        self.send()
        while self.commands:
            self.answer()
        assert self.heard_by_server == self.wanted | {OWN}
        assert all(done.done() for _, _, done in self.waiting)
        assert self.subscription.ready
        assert self.subscription.take_gap() or not self.gap_due, "the listener would never be told"
        self.gap_due = set()

    @invariant()
    def it_wants_what_the_last_calls_said(self) -> None:
        assert self.subscription.wanted == self.wanted

    @invariant()
    def a_gap_is_told_only_when_what_was_lost_is_heard_again(self) -> None:
        if self.open and self.subscription.take_gap():
            assert self.gap_due <= self.heard_by_server
            self.gap_due = set()


TestAgainstAServer = AgainstAServer.TestCase
TestAgainstAServer.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def confirm_all(subscription: Subscription) -> list[bytes]:
    commands = subscription.commands()
    topics = [topic for command in commands.subscribe + commands.unsubscribe for topic in command]
    for topic in topics:
        subscription.answered(topic)
    return topics


async def test_an_answer_true_comes_only_after_the_last_topic_is_confirmed() -> None:
    subscription = Subscription(OWN)
    subscription.opened()
    done = asyncio.get_running_loop().create_future()
    subscription.want([b"a", b"b"], done)
    (topics,) = subscription.commands().subscribe
    assert topics[0] == OWN
    for topic in topics:
        assert not done.done()
        subscription.answered(topic)
    assert done.result() is True


async def test_a_lost_connection_owes_one_gap_after_everything_is_confirmed_again() -> None:
    subscription = Subscription(OWN)
    subscription.opened()
    subscription.want([b"a", b"b"], asyncio.get_running_loop().create_future())
    confirm_all(subscription)
    assert not subscription.take_gap()
    subscription.lost()
    assert not subscription.take_gap()
    subscription.opened()
    (topics,) = subscription.commands().subscribe
    for topic in topics:
        assert not subscription.take_gap()
        subscription.answered(topic)
    assert subscription.take_gap()
    assert not subscription.take_gap()


async def test_wanting_and_withdrawing_before_anything_is_sent_sends_nothing() -> None:
    subscription = Subscription(OWN)
    subscription.opened()
    confirm_all(subscription)
    done = asyncio.get_running_loop().create_future()
    subscription.want([b"a"], done)
    subscription.withdraw([b"a"])
    assert done.result() is False
    assert confirm_all(subscription) == []


async def test_not_all_topics_are_asked_for_at_once() -> None:
    subscription = Subscription(OWN)
    subscription.want([b"%d" % number for number in range(20_000)], asyncio.get_running_loop().create_future())
    subscription.opened()
    rounds: list[int] = []
    while topics := confirm_all(subscription):
        rounds.append(len(topics))
    assert sum(rounds) == 20_001
    assert max(rounds) <= 4_097
