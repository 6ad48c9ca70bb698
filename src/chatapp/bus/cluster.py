"""The bus over a Redis Cluster: sharded pub/sub, each topic at the node that owns its slot."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import defaultdict
from collections.abc import Collection, Sequence
from contextlib import suppress
from functools import partial
from itertools import count
from uuid import uuid4

from chatapp.bus.backoff import Backoff
from chatapp.bus.limits import RedisBusLimits, RedisBusStats
from chatapp.bus.line import Line
from chatapp.bus.port import BusListener, BusStatus
from chatapp.bus.redis import PUBLISHER, SUBSCRIBER
from chatapp.bus.resp import Dial, Endpoint, Refused, RespConnection, connect
from chatapp.bus.routes import Routes
from chatapp.bus.slots import slot_of
from chatapp.bus.topology import Topology, find_topology
from chatapp.bus.verbs import SHARDED
from chatapp.errors import Unavailable

_logger = logging.getLogger(__name__)

_REFRESH_S = 10.0
_FIRST_RETRY_S = 0.05
_MOST_RETRY_S = 1.0
_QUIET_S = 2.0
"""After so long without asking for the topology, trouble is looked into at once."""
_NODES_ASKED = 5
_SEEDS_ASKED = 2


class ClusterBus:
    """A ``Bus``. It has a ``Line`` to each master that owns slots; the order of publishing holds for each topic.

    The topology is asked for again every 10 s, and as soon as anything hints that it has changed (a redirection, a
    topic that was taken away, a lost connection, missing heartbeats), until every line is alive. What moves to another
    node takes what waits for being published with it, and ``on_gap`` is told once it is heard again.

    Topics whose slot nobody owns are kept by a line that leads nowhere, so that they can move like all others.
    ``limits`` bound what waits for each master, and not for the cluster as a whole.
    """

    def __init__(self, seeds: Sequence[Endpoint], limits: RedisBusLimits | None = None) -> None:
        """``seeds`` are nodes to find the others by; all nodes let us in the same way."""
        self.stats = RedisBusStats()
        self._limits = limits or RedisBusLimits()
        self._seeds = list(seeds)
        self._id = uuid4().hex.encode()
        self._nodes: frozenset[Endpoint] = frozenset()
        self._epoch = 0
        self._nowhere = self._line(b"chatapp:bus:nowhere", _lead_nowhere, _lead_nowhere, "")
        self._routes = Routes(self._nowhere)
        self._lines: dict[Endpoint, Line] = {}
        self._left: list[Line] = []
        """Lines that carry nothing any more and are still to be ended."""
        self._listener: BusListener | None = None
        self._following: asyncio.Task[None] | None = None
        self._trouble = asyncio.Event()
        self._known = True
        """The last question for the topology was answered."""
        self._hint: Endpoint | None = None
        self._moves = 0
        self._closed = False

    async def start(self, listener: BusListener) -> None:
        """See ``Bus.start``."""
        self._listener = listener
        self._following = asyncio.create_task(self._follow_topology(), name="bus topology")

    def publish(self, topic: bytes, payload: bytes) -> None:
        """See ``Bus.publish``."""
        if self._closed:
            self.stats.dropped += 1
        else:
            self._routes.of(slot_of(topic)).publisher.publish(topic, payload)

    async def subscribe(self, topics: Collection[bytes]) -> bool:
        """See ``Bus.subscribe``. Also False when a slot moves to another node meanwhile; then a gap follows."""
        if self._closed:
            return False
        answers = [line.subscriber.subscribe(part) for line, part in self._routes.want(topics).items()]
        if len(answers) == 1:
            return await answers[0]
        return all(await asyncio.gather(*answers))

    async def unsubscribe(self, topics: Collection[bytes]) -> None:
        """See ``Bus.unsubscribe``. Does not wait for Redis: nothing of these topics is handed over from now on."""
        for line, part in self._routes.withdraw(topics).items():
            line.subscriber.unsubscribe(part)

    async def ping(self) -> float:
        """See ``Bus.ping``. The longest of the trips of a beat through each node."""
        if self._closed or not self._lines:
            raise Unavailable
        clock = asyncio.get_running_loop().time
        began = clock()
        trips = await asyncio.gather(*(line.ping() for line in self._lines.values()), return_exceptions=True)
        if any(trips):
            raise Unavailable
        return clock() - began

    @property
    def status(self) -> BusStatus:
        """See ``Bus.status``. Connected when every node is, and every slot that is in use is owned by one."""
        return BusStatus(
            connected=self._is_whole and not self._closed,
            unconfirmed=sum(len(line.publisher) for line in self._all_lines()),
            topics=sum(len(line.subscriber) for line in self._all_lines()),
        )

    async def flush(self, timeout_s: float) -> bool:
        """See ``Bus.flush``."""
        until = asyncio.get_running_loop().time() + timeout_s
        while True:
            moves, left_s = self._moves, until - asyncio.get_running_loop().time()
            flushed = await asyncio.gather(*(line.publisher.flush(left_s) for line in self._all_lines()))
            if self._moves == moves or left_s <= 0:
                return all(flushed)  # else some of it waits at another node now

    async def close(self) -> None:
        """See ``Bus.close``."""
        if self._closed:
            return
        self._closed = True
        await asyncio.gather(*(line.stop_hearing() for line in self._all_lines()))
        if not await self.flush(self._limits.close_timeout_s):
            _logger.warning("the bus closes with %d payloads unpublished", self.status.unconfirmed)
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        await asyncio.gather(*(line.end() for line in [*self._all_lines(), *self._left]))

    # -- the topology -------------------------------------------------------------------------------------------------

    async def _follow_topology(self) -> None:
        clock = asyncio.get_running_loop().time
        backoff = Backoff(first_s=_FIRST_RETRY_S, most_s=_MOST_RETRY_S)
        while True:
            began = clock()
            try:
                await self._refresh()
            except Exception:
                _logger.exception("bus cluster: unexpected failure")
            if self._is_whole and all(line.settled for line in self._lines.values()):
                await self._until_trouble(_REFRESH_S)
            if clock() - began >= _QUIET_S:
                backoff.reset()
            else:
                await asyncio.sleep(backoff.next_s())

    async def _refresh(self) -> None:
        self._trouble.clear()
        topology = await find_topology(self._candidates(), timeout_s=self._limits.connect_timeout_s)
        if topology is not None:
            if topology.epoch >= self._epoch or not self._is_whole:  # else it is from a node that is behind
                self._apply(topology)
        elif self._known:
            _logger.warning("bus cluster: no node knows a cluster that serves")  # once an outage
        self._known = topology is not None
        while self._left:
            await self._left[-1].end()
            self._left.pop()
        for line in self._lines.values():
            line.subscriber.retry()

    async def _until_trouble(self, timeout_s: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._trouble.wait()

    def _candidates(self) -> list[Endpoint]:
        """The node that a redirection named comes first: it knows best that it owns a slot now."""
        hint, self._hint = self._hint, None
        candidates = [] if hint is None else [hint]
        candidates += random.sample(sorted(self._nodes, key=str), min(len(self._nodes), _NODES_ASKED))
        candidates += random.sample(self._seeds, min(len(self._seeds), _SEEDS_ASKED))
        return list(dict.fromkeys(candidates))

    def _apply(self, topology: Topology) -> None:
        """Without waiting, so that nothing is published or subscribed in between."""
        self._nodes, self._epoch = topology.nodes, topology.epoch
        slots: defaultdict[Endpoint, set[int]] = defaultdict(set)
        for slot, owner in enumerate(topology.owners):
            if owner is not None:
                slots[owner].add(slot)
        before, self._lines = self._lines, {}
        for node, owned in slots.items():
            line = before.get(node)
            if line is None or slot_of(line.own_topic) not in owned:
                line = self._open(node, owned)
            self._lines[node] = line
        lines = [self._nowhere if owner is None else self._lines[owner] for owner in topology.owners]
        if moved := self._routes.replace(lines):
            self._moves += 1
            _logger.info("bus cluster: %d slots have moved; %d masters", moved, len(self._lines))
        self._left += [line for node, line in before.items() if self._lines.get(node) is not line]

    def _open(self, node: Endpoint, owned: set[int]) -> Line:
        """Its heartbeat needs a topic that lives at this node."""
        names = (b"chatapp:bus:%s:%d" % (self._id, number) for number in count())
        topic = next(name for name in names if slot_of(name) in owned)
        dial = partial(connect, node, timeout_s=self._limits.connect_timeout_s)
        line = self._line(topic, partial(dial, name=PUBLISHER), partial(dial, name=SUBSCRIBER), f" of {node}")
        if self._listener is not None:
            line.start(self._listener)
        return line

    def _line(self, own_topic: bytes, publisher_dial: Dial, subscriber_dial: Dial, name: str) -> Line:
        return Line(
            publisher_dial=publisher_dial,
            subscriber_dial=subscriber_dial,
            own_topic=own_topic,
            limits=self._limits,
            stats=self.stats,
            verbs=SHARDED,
            name=name,
            on_trouble=self._on_trouble,
        )

    def _on_trouble(self, why: str) -> None:
        words = why.split()
        if words[:1] == ["MOVED"] and len(words) == 3:
            host, _, port = words[2].rpartition(":")
            if host and host != "?" and port.isdigit():
                self._hint = self._seeds[0].at(host, int(port))
        self._trouble.set()

    @property
    def _is_whole(self) -> bool:
        nowhere = self._nowhere
        return (
            bool(self._lines)
            and all(line.alive for line in self._lines.values())
            and not len(nowhere.subscriber)
            and not len(nowhere.publisher)
        )

    def _all_lines(self) -> list[Line]:
        return [self._nowhere, *self._lines.values()]


async def _lead_nowhere() -> RespConnection:
    raise Refused("nobody owns these slots")
