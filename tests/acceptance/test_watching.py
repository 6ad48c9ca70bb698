"""What replicas tell an operator while they are used in every way: their log, and their spans at a collector."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from msgspec import Struct
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from chatapp.protocol.commands import _TYPES
from tests.acceptance.client import PASSWORD, Account, Rest, rests, socket
from tests.acceptance.replicas import ReplicaProcess, Replicas, wait_until

pytestmark = pytest.mark.alone

BODY = "confidential-words"
NEW_PASSWORD = "another confidential horse"
ANSI = "\x1b[31mred\r\nforged"
KEY = "collector-key"


class Collector:
    """An OTLP/HTTP receiver that keeps what comes."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Span]] = []
        self.keys: set[str | None] = set()

    def take(self, body: bytes, key: str | None) -> None:
        self.keys.add(key)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            names = {attribute.key: attribute.value.string_value for attribute in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += [(names["service.instance.id"], span) for span in scope.spans]

    def of_trace(self, trace_id: bytes) -> Mapping[str, tuple[str, Span]]:
        return {span.name: (origin, span) for origin, span in self.spans if span.trace_id == trace_id}


@contextmanager
def collecting() -> Iterator[tuple[Collector, str]]:
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            collector.take(self.rfile.read(int(self.headers["content-length"])), self.headers["x-key"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield collector, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Watched(Struct, frozen=True, eq=False):
    """Two replicas that tell everything."""

    one: ReplicaProcess
    two: ReplicaProcess
    collector: Collector


@pytest.fixture(scope="module")
def watched(site: Replicas) -> Iterator[Watched]:
    with collecting() as (collector, endpoint):
        one, two = site.start(
            2,
            CHATAPP_LOGGER__LOG_LEVEL="debug",
            CHATAPP_TRACING__ENABLED="true",
            CHATAPP_TRACING__OTLP_ENDPOINT=endpoint,
            CHATAPP_TRACING__OTLP_HEADERS=f"x-key={KEY}",
            CHATAPP_TRACING__SAMPLE_RATIO="1",
            OTEL_BSP_SCHEDULE_DELAY="100",
        )
        yield Watched(one, two, collector)


def lines(replica: ReplicaProcess) -> list[dict[str, Any]]:
    """Everything it has logged, each line an object (what is said about the settings comes before, for people)."""
    return [json.loads(line) for line in replica.output.splitlines() if not line.startswith("warning: ")]


def line(replica: ReplicaProcess, **fields: object) -> dict[str, Any]:
    """The one line with these fields, once it is written."""
    found: list[dict[str, Any]] = []

    def look() -> bool:
        found[:] = [line for line in lines(replica) if fields.items() <= line.items()]
        return bool(found)

    wait_until(look, log=replica.log)
    assert len(found) == 1, found
    return found[0]


async def test_a_message_is_one_trace_at_the_collector_from_the_request_to_the_other_replica(watched: Watched) -> None:
    async with rests(watched.one) as (rest,):
        ann, bob = await rest.register("ann"), await rest.register("bob")
        chat = await rest.group(ann, bob)
        async with socket(watched.two, bob) as listening:
            response = await rest.ask(
                "POST",
                "/messages",
                ann,
                json={"chat_id": chat, "content": BODY},
                headers={"X-Request-ID": "the-traced-one"},
            )
            assert response.status_code == 201
            await listening.expect("message")
    said = line(watched.one, request_id="the-traced-one", event="request")
    trace_id = bytes.fromhex(said["trace_id"])
    names = {"POST /api/v1/messages", "commit group", "publish event", "deliver event"}
    wait_until(lambda: watched.collector.of_trace(trace_id).keys() == names, log=watched.one.log)
    spans = watched.collector.of_trace(trace_id)
    assert spans["deliver event"][1].parent_span_id == spans["publish event"][1].span_id
    assert spans["deliver event"][0] != spans["publish event"][0], "at the other replica"
    assert watched.collector.keys == {KEY}


async def test_whatever_is_done_no_body_token_or_password_is_logged_and_ids_are(watched: Watched) -> None:
    replica = watched.one
    async with rests(replica) as (rest,):
        ann, bob = await rest.register("ann"), await rest.register("bob")
        accounts = [ann, bob, await rest.login(bob)]
        await rest.ask("POST", "/auth/login", json={"username": ann.username, "password": NEW_PASSWORD})
        chat = await rest.group(ann, bob)
        sent = await rest.send(ann, chat, BODY)
        opened = await use_sockets(replica, ann, chat, sent["id"])
        handshake = await rest.ask("GET", f"/ws?token={bob.token}", headers={"X-Request-ID": "no-upgrade"})
        assert handshake.status_code == 404
        hostile = await rest.ask("GET", "/" + ANSI.replace("\r\n", "%0d%0a").replace("\x1b", "%1b"))
        assert hostile.status_code == 404
        await rest.ask("GET", "/auth/me", ann, headers={"X-Request-ID": "who-am-i"})
        routes = await use_routes(replica, rest, ann, chat, (await rest.send(ann, chat, BODY))["id"])
    output = replica.output
    for secret in (BODY, PASSWORD, NEW_PASSWORD, KEY, "v4.local.", *(account.token[9:40] for account in accounts)):
        assert secret not in output
    assert "\x1b" not in output
    said = line(replica, request_id="who-am-i")
    assert said["level"] == "info"
    assert (said["method"], said["route"], said["status"]) == ("GET", "/api/v1/auth/me", 200)
    assert said["user_id"] == ann.user_id
    assert said["duration_ms"] > 0
    every = lines(replica)
    told = {(entry["method"], entry["route"]) for entry in every if entry.get("route")}
    assert len(routes) > 20
    assert told >= set(routes)
    assert all("request_id" in entry for entry in every if entry["event"] in ("request", "handshake refused"))
    for connection_id, code in opened:
        assert line(replica, event="connection opened", connection_id=connection_id)["request_id"]
        closed = line(replica, event="connection closed", connection_id=connection_id)
        assert (closed["user_id"], closed["code"]) == (ann.user_id, code)
        assert closed["frames"] > 0
        assert closed["duration_s"] > 0
    refused = {entry["command"] for entry in every if entry["event"] == "command refused"}
    assert refused
    assert all(entry["connection_id"] for entry in every if entry["event"] == "command refused")
    assert not [entry for entry in every if entry["level"] in ("error", "critical")]


async def use_sockets(replica: ReplicaProcess, user: Account, chat: int, message: int) -> Sequence[tuple[str, int]]:
    """Every command, valid and not, and a refused handshake. The connections, and the code each was closed with."""
    known: dict[str, Any] = {"chat_id": chat, "message_id": message, "seq": 1, "content": BODY, "positions": {chat: 0}}
    fields = {
        "message": ("chat_id", "content"),
        "edit_message": ("message_id", "content"),
        "delete_message": ("message_id",),
        "read": ("chat_id", "seq"),
        "resume": ("positions",),
        "ping": (),
    }
    async with socket(replica, user) as one:
        for kind in sorted(_TYPES):
            valid = {name: known[name] for name in fields.get(kind, ("chat_id",))}
            await one.tell(kind, valid, f"valid {kind}")
            await one.tell(kind, valid | {name: 10**12 for name in valid if name.endswith("_id")}, f"refused {kind}")
            await one.tell(kind, {"content": [BODY], "chat_id": BODY}, f"invalid {kind}")
        await one.tell(BODY, {"content": BODY})
        await one.tell("ping", {}, "last")
        while (await one.hear()).get("id") != "last":
            pass
        await one.tell("read", {"chat_id": 10**12, "seq": 1}, "answered in order")
        while (await one.hear()).get("id") != "answered in order":
            pass
    # The token in the address, and a client that makes nothing but errors.
    async with socket(replica, user, f"token={user.token}", additional_headers={}) as two:
        for _ in range(3):
            await two.connection.send(f'not JSON "{BODY} {PASSWORD}')
        code = await two.closed_with()
    async with httpx.AsyncClient(trust_env=False) as client:
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        answer = await client.get(
            f"{replica.url}/ws?token={user.token}x{BODY}",
            headers=upgrade | {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "X-Request-ID": "refused-one"},
        )
    assert answer.status_code == 401
    assert answer.headers["X-Request-ID"] == "refused-one"
    assert line(replica, event="handshake refused", request_id="refused-one")["status"] == 401
    return [(one.ready["connection_id"], 1000), (two.ready["connection_id"], code)]


async def use_routes(
    replica: ReplicaProcess, rest: Rest, user: Account, chat: int, message: int
) -> Sequence[tuple[str, str]]:
    """Every route that the description names, with and without a token. Method and route of each."""
    schema = (await rest.ask("GET", f"{replica.url}/schema/openapi.json")).json()
    routes = [
        (method.upper(), path, operation)
        for path, item in schema["paths"].items()
        for method, operation in item.items()
        if "responses" in operation
    ]
    routes.sort(key=lambda route: route[0] == "DELETE" or "logout" in route[1] or "/users/" in route[1])
    ids = {"chat_id": chat, "message_id": message}
    for method, path, operation in routes:
        address = re.sub(r"{(\w+)}", lambda name: str(ids.get(name[1], user.user_id)), path)
        content = operation.get("requestBody", {}).get("content", {})
        body = {
            name: NEW_PASSWORD if "password" in name else BODY if isinstance(value, str) else value
            for name, value in content.get("application/json", {}).get("example", {}).items()
        }
        for account in (None, user):
            await rest.ask(
                method, f"{replica.url}{address}?token={user.token}", account, **({"json": body} if body else {})
            )
            if body:
                await rest.ask(method, f"{replica.url}{address}", account, data=body)
                await rest.ask(
                    method, f"{replica.url}{address}", account, content=f'{{"content": "{BODY}', headers=_JSON
                )
    return [(method, path) for method, path, _ in routes]


_JSON = {"Content-Type": "application/json"}
