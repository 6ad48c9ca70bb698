"""One trace from a request or a command to the delivery at another replica."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import pytest
from msgspec import Struct
from opentelemetry.sdk.trace import ReadableSpan

from chatapp.app.metrics.page import Crew, MetricsPage
from chatapp.app.replica import Replica, build
from chatapp.app.server import Application
from chatapp.config import load
from chatapp.gateway.wire import WireProtocol
from chatapp.protocol.ids import ChatId
from chatapp.tracing.port import Tracer
from tests.gateway.replicas import TIMEOUT_S, Node, User, migrated, serving
from tests.servers import Databases
from tests.tracing.memory import Spans, is_child, trace_of


class Scene(Struct, frozen=True, eq=False):
    """Two replicas, who wrote which span, and two people in a group."""

    one: Node
    two: Node
    spans: Spans
    ann: User
    bob: User
    chat_id: ChatId

    def ask(self, user: User) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self.one.port}/api/v1",
            headers={"authorization": f"Bearer {user.token}"},
            trust_env=False,
        )

    async def until(self, name: str, service: str, count: int = 1) -> Sequence[ReadableSpan]:
        """So many spans of this name have ended there."""
        async with asyncio.timeout(TIMEOUT_S):
            while len(found := self.spans.named(name, service)) < count:
                await asyncio.sleep(0.005)
        return found


@asynccontextmanager
async def served(database_url: str, redis_url: str, tracer: Tracer | None) -> AsyncIterator[Node]:
    environment = {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "CHATAPP_AUTH__ARGON2_MEMORY_KIB": "64",
        "CHATAPP_AUTH__ARGON2_TIME_COST": "1",
        "CHATAPP_AUTH__ARGON2_PARALLELISM": "1",
    }
    replica: Replica = await build(load(None, environment), b"k" * 32, tracer)
    async with replica.running(), serving(Application(replica, MetricsPage(Crew(), bytes)), WireProtocol) as (_, port):
        yield Node(replica, port)


@pytest.fixture(scope="module")
async def database_with_schema(databases: Databases) -> str:
    return await migrated(databases.create("traces"))


@pytest.fixture(scope="module")
async def replicas(database_with_schema: str, redis_url: str) -> AsyncIterator[tuple[Node, Node, Spans]]:
    spans = Spans()
    async with AsyncExitStack() as stack:
        one, two = [
            await stack.enter_async_context(served(database_with_schema, redis_url, spans.tracer(name)))
            for name in ("one", "two")
        ]
        yield one, two, spans


@pytest.fixture
async def scene(replicas: tuple[Node, Node, Spans]) -> Scene:
    one, two, spans = replicas
    ann, bob = await one.somebody("ann"), await two.somebody("bob")
    chat_id = await one.group(ann, bob)
    spans.exporter.clear()
    return Scene(one, two, spans, ann, bob, chat_id)


async def test_a_message_over_rest_is_one_trace_to_the_delivery_at_another_replica(scene: Scene) -> None:
    bob = await scene.two.connect(scene.bob)
    async with scene.ask(scene.ann) as client:
        answer = await client.post(
            "/messages", json={"chat_id": scene.chat_id, "content": "secret words"}, headers={"x-request-id": "r-1"}
        )
    assert answer.status_code == 201
    await bob.until("message", content="secret words")
    (request,) = await scene.until("POST /api/v1/messages", "one")
    (commit,) = await scene.until("commit group", "one")
    (publish,) = await scene.until("publish event", "one")
    (deliver,) = await scene.until("deliver event", "two")
    assert {trace_of(span) for span in (request, commit, publish, deliver)} == {trace_of(request)}
    assert request.parent is None
    assert is_child(commit, request)
    assert is_child(publish, request)
    assert is_child(deliver, publish)
    assert request.attributes is not None
    assert request.attributes["chatapp.request_id"] == "r-1"
    assert request.attributes["http.response.status_code"] == 201
    assert deliver.attributes is not None
    assert deliver.attributes["chatapp.connections"] == 1
    assert "secret words" not in "".join(span.to_json() for span in scene.spans.all())
    await bob.close()


async def test_a_message_over_a_socket_is_one_trace_to_the_delivery_at_both_replicas(scene: Scene) -> None:
    ann, bob = await scene.one.connect(scene.ann), await scene.two.connect(scene.bob)
    await ann.send(scene.chat_id, "secret words")
    await bob.until("message", content="secret words")
    (command,) = await scene.until("command message", "one")
    (commit,) = await scene.until("commit group", "one")
    (publish,) = await scene.until("publish event", "one")
    (here,) = await scene.until("deliver event", "one")
    (there,) = await scene.until("deliver event", "two")
    assert {trace_of(span) for span in (commit, publish, here, there)} == {trace_of(command)}
    assert is_child(commit, command)
    assert is_child(publish, command)
    assert is_child(here, publish)
    assert is_child(there, publish)
    assert command.attributes is not None
    assert command.attributes["chatapp.connection_id"] == ann.ready["connection_id"]
    assert "secret words" not in "".join(span.to_json() for span in scene.spans.all())
    for client in (ann, bob):
        await client.close()


async def test_each_send_of_a_group_has_its_own_trace_to_its_own_delivery(scene: Scene) -> None:
    ann, bob = await scene.one.connect(scene.ann), await scene.two.connect(scene.bob)
    for number in range(20):
        await ann.tell("message", {"chat_id": scene.chat_id, "content": f"number {number}"})
    await bob.until("message", content="number 19")
    commands = await scene.until("command message", "one", 20)
    delivered = await scene.until("deliver event", "two", 20)
    assert len({trace_of(span) for span in commands}) == 20
    assert {trace_of(span) for span in delivered} == {trace_of(span) for span in commands}
    groups = scene.spans.named("commit group")
    in_groups = sum(1 + len(group.links) for group in groups)
    assert in_groups == 20, "every send is in a group, as its parent or linked"
    for client in (ann, bob):
        await client.close()


async def test_any_other_command_is_traced_to_the_delivery_too(scene: Scene) -> None:
    ann, bob = await scene.one.connect(scene.ann), await scene.two.connect(scene.bob)
    sent = await ann.send(scene.chat_id, "before")
    await ann.done("edit_message", {"message_id": sent["message_id"], "content": "after"})
    await bob.until("message_updated", content="after")
    (command,) = await scene.until("command edit_message", "one")
    delivered = await scene.until("deliver event", "two", 2)
    assert trace_of(delivered[1]) == trace_of(command)
    assert await ann.refused("read", {"chat_id": 10**12, "seq": 1}) == "not_a_member"
    (refused,) = await scene.until("command read", "one")
    assert refused.attributes is not None
    assert refused.attributes["error.type"] == "not_a_member"
    for client in (ann, bob):
        await client.close()


async def test_a_replica_that_traces_and_one_that_does_not_serve_each_other(
    scene: Scene, database_with_schema: str, redis_url: str
) -> None:
    async with served(database_with_schema, redis_url, None) as plain:
        bob, ann = await plain.connect(scene.bob), await scene.one.connect(scene.ann)
        await ann.send(scene.chat_id, "from the traced one")
        heard = await bob.until("message", content="from the traced one")
        assert heard == await ann.until("message", content="from the traced one")
        await bob.send(scene.chat_id, "from the other")
        await ann.until("message", content="from the other")
        traces = {trace_of(span) for span in await scene.until("command message", "one")}
        delivered = scene.spans.named("deliver event")
        assert {trace_of(span) for span in delivered} == traces, "what was not traced carries no trace"
        for client in (ann, bob):
            await client.close()


async def test_what_is_not_sampled_makes_no_span_and_carries_no_trace(
    database_with_schema: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spans = Spans()
    async with served(database_with_schema, redis_url, spans.tracer(sample_ratio=0.0)) as node:
        payloads: list[bytes] = []
        publish: Callable[[bytes, bytes], None] = node.replica.bus.publish

        def remember(topic: bytes, payload: bytes) -> None:
            payloads.append(payload)
            publish(topic, payload)

        monkeypatch.setattr(node.replica.bus, "publish", remember)
        ann = await node.somebody("ann")
        chat_id = await node.group(ann)
        client = await node.connect(ann)
        payloads.clear()
        await client.send(chat_id, "hello")
        await client.until("message", content="hello")
        assert [payload[8] for payload in payloads] == [1], (
            "one envelope behind the publisher's mark, nothing before it"
        )
        await client.close()
    assert spans.all() == []
