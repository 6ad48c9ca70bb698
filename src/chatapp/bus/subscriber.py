"""The way in: one connection that hears all topics of this replica, and hands over what one read of it brought."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine
from typing import Any

from chatapp.bus.limits import RedisBusLimits, RedisBusStats
from chatapp.bus.link import Link
from chatapp.bus.port import BusListener, Delivery
from chatapp.bus.resp import Dial, Reply, RespConnection, pack
from chatapp.bus.subscription import Answer, Subscription, Wait
from chatapp.bus.verbs import Verbs

_logger = logging.getLogger(__name__)

TAKEN_AWAY = "topics were taken away"
"""What ``on_refused`` is told when a node of a cluster gave a slot away."""


class Subscriber:
    """Hears one Redis (one node of a cluster). ``own_topic`` is always heard and goes to ``on_own``.

    ``on_refused`` is told why topics are not heard although they are wanted: then ``retry`` later, or ``drop`` the
    connection, or ``unsubscribe`` them because another node has them now.
    """

    def __init__(
        self,
        dial: Dial,
        limits: RedisBusLimits,
        stats: RedisBusStats,
        *,
        own_topic: bytes,
        on_own: Callable[[bytes], None],
        on_ready: Callable[[], None],
        on_lost: Callable[[], None],
        on_refused: Callable[[str], None],
        verbs: Verbs,
        name: str,
    ) -> None:
        self._limits = limits
        self._stats = stats
        self._verbs = verbs
        self._subscribed = verbs.subscribed
        self._own_topic = own_topic
        self._on_own = on_own
        self._on_ready = on_ready
        self._on_lost = on_lost
        self._on_refused = on_refused
        self._listener: BusListener | None = None
        self._topics = Subscription(own_topic, verbs.group)
        self._link = Link(f"subscriber{name}", dial, on_up=self._up, on_down=self._down)
        self._was_ready = False
        self._commands_due = False

    async def run(self, listener: BusListener) -> None:
        """Keep connected and hear, until cancelled."""
        self._listener = listener
        try:
            await self._link.run()
        finally:
            self._listener = None
            self._topics.give_up_all()

    def __len__(self) -> int:
        """Topics that are wanted, confirmed or not; not counting ``own_topic``."""
        return len(self._topics)

    @property
    def connected(self) -> bool:
        """There is a connection, which may hear nothing yet, or be dead without knowing it."""
        return self._link.connection is not None

    @property
    def ready(self) -> bool:
        """Connected, and ``own_topic`` is heard."""
        return self._topics.ready

    def drop(self, reason: str) -> None:
        """End the connection, and connect again."""
        self._link.drop(reason)

    def subscribe(self, topics: Collection[bytes]) -> Coroutine[Any, Any, bool]:
        """See ``Bus.subscribe``. The topics are wanted from this call on, whenever its answer is awaited."""
        confirmed: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        wait = self._topics.want(topics, confirmed)
        self._send_soon()
        return self._confirmed(wait, confirmed)

    def take_over(self, topics: Collection[bytes]) -> None:
        """Hear these too, which another heard until now, with ``on_gap`` once they are confirmed."""
        self._topics.take_over(topics)
        self._send_soon()

    def retry(self) -> None:
        """Ask once more for what was refused."""
        self._topics.retry()
        self._send_soon()

    def unsubscribe(self, topics: Collection[bytes]) -> None:
        """See ``Bus.unsubscribe``."""
        self._topics.withdraw(topics)
        self._send_soon()

    async def _confirmed(self, wait: Wait, confirmed: asyncio.Future[bool]) -> bool:
        try:
            async with asyncio.timeout(self._limits.subscribe_timeout_s):
                return await confirmed
        except TimeoutError:
            return confirmed.done() and not confirmed.cancelled() and confirmed.result()
        finally:
            if wait.missing:
                self._topics.give_up(wait)

    # -- the connection -----------------------------------------------------------------------------------------------

    def _up(self, connection: RespConnection) -> None:
        connection.on_replies = self._on_replies
        self._topics.opened()
        self._send()

    def _down(self) -> None:
        self._stats.interruptions += 1
        self._was_ready = False
        self._topics.lost()
        self._on_lost()

    def _send_soon(self) -> None:
        """With the next turn of the loop, so that concurrent calls share one command."""
        if self._link.connection is not None and not self._commands_due:
            self._commands_due = True
            asyncio.get_running_loop().call_soon(self._send)

    def _send(self) -> None:
        self._commands_due = False
        connection = self._link.connection
        if connection is None:
            return
        commands = self._topics.commands()
        packed = [pack((self._verbs.subscribe, *topics)) for topics in commands.subscribe]
        packed += [pack((self._verbs.unsubscribe, *topics)) for topics in commands.unsubscribe]
        if packed:
            connection.write(b"".join(packed))
        if self._topics.take_gap():
            self._tell_gap()

    def _on_replies(self, replies: list[Reply]) -> None:
        """The hot path: each message of each topic of this replica passes here."""
        message, wanted, own_topic = self._verbs.message, self._topics.wanted, self._own_topic
        deliveries: list[Delivery] = []
        answers: list[Reply] = []
        for reply in replies:
            if not isinstance(reply, list):
                answers.append(reply)
                continue
            kind, topic, payload = reply
            if kind == message:
                if topic in wanted:
                    deliveries.append(Delivery(topic, payload))
                elif topic == own_topic:
                    self._on_own(payload)
            else:
                answers.append(reply)
        if deliveries:
            self._deliver(deliveries)
        if answers:
            self._on_answers(answers)

    def _on_answers(self, answers: list[Reply]) -> None:
        refusal = ""
        for reply in answers:
            if isinstance(reply, list):
                kind, topic, _ = reply
                answer = self._topics.answered(topic, subscribed=kind == self._subscribed)
                text = TAKEN_AWAY
            else:
                answer, text = self._topics.refused(), str(reply)
            if answer is Answer.UNFITTING:
                self._link.drop(f"an answer that nothing was asked for: {text}")
                return
            if answer is Answer.REFUSAL:
                refusal = text
        if refusal:
            self._on_refused(refusal)
        self._after_answers()

    def _after_answers(self) -> None:
        self._send()
        if not self._was_ready and self._topics.ready:
            self._was_ready = True
            self._on_ready()

    def _deliver(self, deliveries: list[Delivery]) -> None:
        self._stats.received += len(deliveries)
        self._stats.reads += 1
        if self._listener is not None:
            try:
                self._listener.on_deliveries(deliveries)
            except Exception:
                _logger.exception("the listener of the bus failed on deliveries")

    def _tell_gap(self) -> None:
        self._stats.gaps += 1
        if self._listener is not None:
            try:
                self._listener.on_gap()
            except Exception:
                _logger.exception("the listener of the bus failed on a gap")
