"""Requests that two readers could understand in two ways, that never end or lie: each is answered where it belongs.

Directly at a replica, and through HAProxy with the deployment's own configuration where that can be run.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator

import pytest
from msgspec import Struct

from chatapp.api.http import PIPELINED
from tests import haproxy
from tests.acceptance.client import Account, rests
from tests.acceptance.raw import Wire, handshake
from tests.acceptance.replicas import ReplicaProcess, Replicas

pytestmark = pytest.mark.alone

HEADERS_S, BODY_S = 1.5, 2.0
CLOSED = 0
API = "/api/v1"
POST = b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
SMUGGLED = b"GET /api/v1/smuggled HTTP/1.1\r\nHost: x\r\n\r\n"


class Way(Struct, frozen=True):
    """How a request gets to the replica."""

    name: str
    port: int
    replica: ReplicaProcess


@pytest.fixture(scope="module")
def replica(site: Replicas) -> ReplicaProcess:
    return site.start(1, CHATAPP_LIMITS__HEADERS_TIMEOUT_S=str(HEADERS_S), CHATAPP_LIMITS__BODY_TIMEOUT_S=str(BODY_S))[
        0
    ]


@pytest.fixture
async def ann(replica: ReplicaProcess) -> AsyncIterator[Account]:
    async with rests(replica) as (one,):
        yield await one.register("ann")


@pytest.fixture(scope="module", params=["replica", "haproxy"])
def way(
    request: pytest.FixtureRequest, replica: ReplicaProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Way]:
    if request.param == "replica":
        yield Way("replica", replica.port, replica)
        return
    if not haproxy.is_there():
        pytest.skip("neither a haproxy nor its image is here")
    with haproxy.haproxy(tmp_path_factory.mktemp("haproxy"), replica.port, http_request="2s") as port:
        yield Way("haproxy", port, replica)


class Answered(Struct, frozen=True):
    """The answers until the connection was closed (then the last is 0), or nothing came any more."""

    statuses: list[int]
    bodies: list[bytes]


async def answers(way: Way, data: bytes, quiet_s: float = 0.7) -> Answered:
    """Send it and take what comes. After the first answer no more is waited for than ``quiet_s``."""
    reader, writer = await asyncio.open_connection("127.0.0.1", way.port, limit=1 << 22)
    opened = Wire(reader, writer)
    told = Answered([], [])
    try:
        writing = asyncio.create_task(opened.write(data))
        with contextlib.suppress(TimeoutError):
            while told.statuses[-1:] != [CLOSED]:
                answer = await opened.answer(quiet_s if told.statuses else 8.0)
                told.statuses.append(answer.status)
                told.bodies.append(answer.body)
        writing.cancel()
        return told
    finally:
        writer.transport.abort()


# -- where a request ends, and whom it is for ------------------------------------------------------------------------


class Row(Struct, frozen=True):
    """A request, and the first answer to it from a replica and through HAProxy (where its releases differ: one of)."""

    data: bytes
    replica: int
    haproxy: int | tuple[int, ...]


def get(target: str, *lines: str, host: str | None = "x", method: str = "GET", version: str = "1.1") -> bytes:
    heads = [f"{method} {target} HTTP/{version}", *([] if host is None else [f"Host: {host}"]), *lines, "", ""]
    return "\r\n".join(heads).encode("latin-1")


def post(*lines: str, body: bytes = b"{}") -> bytes:
    """A login. Where the length is clear it is a 400 for what is in it: ``validation_failed``."""
    return POST + "".join(f"{line}\r\n" for line in lines).encode("latin-1") + b"\r\n" + body


def chunked(body: bytes, *lines: str) -> bytes:
    return post("Transfer-Encoding: chunked", *lines, body=body)


ROWS = {
    # Two lengths, or none that is clear: nothing after such a head is believed.
    "a length and chunks": Row(
        post("Content-Length: 6", "Transfer-Encoding: chunked", body=b"0\r\n\r\n" + SMUGGLED), 400, 400
    ),
    "chunks and a length": Row(chunked(b"0\r\n\r\n" + SMUGGLED, "Content-Length: 6"), 400, 400),
    "two lengths": Row(post("Content-Length: 2", "Content-Length: 3", body=b"{}}" + SMUGGLED), 400, 400),
    "the same length twice": Row(post("Content-Length: 2", "Content-Length: 2"), 400, 400),
    "a list of lengths": Row(post("Content-Length: 2, 2"), 400, 400),
    "a negative length": Row(post("Content-Length: -2"), 400, 400),
    "a length with a sign": Row(post("Content-Length: +2"), 400, 400),
    "a length in hex": Row(post("Content-Length: 0x2"), 400, 400),
    "a length of two numbers": Row(post("Content-Length: 1 2"), 400, 400),
    "an empty length": Row(post("Content-Length: ", body=SMUGGLED), 400, 400),
    "lines that end in LF alone": Row(post("Content-Length: 2").replace(b"\r\n", b"\n"), 400, 400),
    "one line that ends in LF alone": Row(post("A: b\nContent-Length: 2"), 400, 400),
    "a CR within a line": Row(post("A: b\rContent-Length: 2"), 400, 400),
    "a folded line": Row(post("A: b\r\n Content-Length: 2"), 400, 400),
    "a folded encoding": Row(post("Transfer-Encoding:\r\n chunked", body=b"0\r\n\r\n"), 400, 400),
    "a space before the colon": Row(post("Transfer-Encoding : chunked", body=b"0\r\n\r\n"), 400, 400),
    "the encoding identity": Row(post("Transfer-Encoding: identity", "Content-Length: 2"), 400, 400),
    "the encoding identity alone": Row(post("Transfer-Encoding: identity"), 400, 400),
    "the encoding gzip": Row(post("Transfer-Encoding: gzip"), 400, 400),
    "the encodings gzip and chunked": Row(post("Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"), 400, (400, 422)),
    "chunked twice": Row(chunked(b"2\r\n{}\r\n0\r\n\r\n", "Transfer-Encoding: chunked"), 400, 400),
    "an encoding much like chunked": Row(post("Transfer-Encoding: xchunked", body=b"0\r\n\r\n"), 400, 400),
    "chunked after a vertical tab": Row(post("Transfer-Encoding: \vchunked", body=b"0\r\n\r\n"), 400, 400),
    "chunks in HTTP/1.0": Row(chunked(b"0\r\n\r\n").replace(b"1.1", b"1.0"), 400, 400),
    # Chunks.
    "an extension of a chunk": Row(chunked(b'2;a=b;c="d"\r\n{}\r\n0\r\n\r\n'), 400, 400),
    "an extension that ends in LF": Row(chunked(b"2;\n{}\r\n0\r\n\r\n"), 400, 400),
    "chunks that end in LF": Row(chunked(b"2\n{}\n0\n\n"), 400, 400),
    "a chunk size with 0x": Row(chunked(b"0x2\r\n{}\r\n0\r\n\r\n"), 400, 400),
    "an endless extension": Row(chunked(b"2;" + b"a" * (1 << 20)), 408, (400, 408)),
    "endless trailers": Row(chunked(b"2\r\n{}\r\n0\r\n" + b"X-Y: z\r\n" * 50_000), 431, 400),
    # Whom it is for. The service answers for any name: what it does depends on none (docs/deploy.md).
    "no Host": Row(get("/health", host=None), 400, 400),
    "no Host in HTTP/1.0": Row(get("/health", host=None, version="1.0"), 200, 200),
    "two Hosts": Row(get("/health", "Host: y"), 400, 400),
    "a foreign Host": Row(get("/health", host="evil.example"), 200, 200),
    "another host in the address": Row(get("http://evil.example/health"), 200, 400),
    "the same host in the address": Row(get("http://x/health"), 200, 200),
    "an address of a file": Row(get("file:///etc/passwd"), 400, 400),
    "an address without a host": Row(get("http://"), 400, 400),
    # Ways around a proxy's rules.
    "two slashes": Row(get("//health"), 200, 200),
    "two slashes and a host": Row(get("//evil.example/health"), 404, 404),
    "dots": Row(get(f"{API}/../../health"), 404, 404),
    "escaped dots": Row(get(f"{API}/%2e%2e/%2e%2e/metrics"), 404, 404),
    "the metrics": Row(get("/metrics"), 200, 404),
    "the metrics, two slashes": Row(get("//metrics"), 200, 404),
    "the metrics, escaped": Row(get("/%6detrics"), 200, 404),
    "the metrics, in the whole address": Row(get("http://x/metrics"), 200, 404),
    "the metrics, in capitals": Row(get("/METRICS"), 404, 404),
    "TRACE": Row(get("/health", method="TRACE"), 405, 405),
    "CONNECT": Row(get("x:80", method="CONNECT"), 400, 405),
    "OPTIONS *": Row(get("*", method="OPTIONS"), 404, 404),
    "an upgrade to HTTP/2": Row(
        get("/health", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMA"), 200, 200
    ),
    # Too much, and in disguise.
    "a gzip bomb": Row(post("Content-Encoding: gzip", "Content-Length: 20", body=b"\x1f\x8b" + b"\0" * 18), 415, 415),
    "2,000 headers": Row(get("/health", *["X-A: b"] * 2000), 431, 400),
    "a header of 200 KB": Row(get("/health", "X-A: " + "b" * 200_000), 431, 400),
    "NUL in a header's name": Row(get("/health", "X\0A: b"), 400, 400),
}


def is_as_expected(way: Way, name: str, answer: Answered) -> bool:
    expected = ROWS[name].haproxy if way.name == "haproxy" else ROWS[name].replica
    return answer.statuses[0] in (expected if isinstance(expected, tuple) else (expected,))


async def test_every_request_of_the_table_is_answered_as_it_says(way: Way) -> None:
    got = dict(zip(ROWS, await asyncio.gather(*(answers(way, row.data) for row in ROWS.values())), strict=True))
    assert {name: answer.statuses[0] for name, answer in got.items() if not is_as_expected(way, name, answer)} == {}
    for name, answer in got.items():
        if "smuggled" in str(ROWS[name].data):
            assert answer.statuses in ([400], [400, CLOSED]), name
        # What HAProxy cannot read as a request it answers with a page of its own.
        if answer.statuses[0] >= 400 and way.name == "replica" and b"TRACE" not in ROWS[name].data:
            refusal = json.loads(answer.bodies[0])
            assert refusal["error"], name
            assert refusal["code"], name


async def test_a_body_that_looks_like_a_request_is_a_body(way: Way) -> None:
    hidden = get("/health", f"Content-Length: {len(SMUGGLED)}") + SMUGGLED
    assert (await answers(way, hidden)).statuses in ([200], [200, CLOSED])


async def test_of_thousands_of_requests_at_once_some_are_answered_and_none_more_kept(way: Way) -> None:
    if way.name == "replica":
        statuses = (await answers(way, get("/health/live") * 9000, quiet_s=3.0)).statuses
        assert statuses == [200] * (PIPELINED + 1) + [CLOSED]
    else:  # HAProxy hands over one after the other
        assert (await answers(way, get("/health/live") * 100)).statuses == [200] * 100


# -- what never ends -------------------------------------------------------------------------------------------------


async def test_what_trickles_is_answered_with_408_in_time_and_others_go_on(way: Way, ann: Account) -> None:
    async def trickle(head: bytes, drop: bytes) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", way.port)
        opened = Wire(reader, writer)
        answering = asyncio.create_task(opened.answer(HEADERS_S + BODY_S + 6))
        try:
            await opened.write(head)
            while not answering.done():
                await opened.write(drop)
                await asyncio.wait((answering,), timeout=0.3)
            return (await answering).status
        finally:
            answering.cancel()
            writer.transport.abort()

    slow = [
        (b"GET /hea", b""),
        (b"GET /health HTTP/1.1\r\nHost: x\r\nX-Trickle: ", b"y"),
        (b"GET /health HTTP/1.1\r\nHost: x\r\n", b"X: y\r\n"),
        (handshake(ann.token)[:-30], b""),
        (handshake(ann.token)[:-2], b"X: y\r\n"),
        (post("Content-Length: 1000", body=b"{"), b""),
        (post("Content-Length: 1000", body=b"{"), b" "),
        (chunked(b"1\r\n{\r\n"), b"1\r\n \r\n"),
    ]
    trickling = asyncio.gather(*(trickle(head, drop) for head, drop in slow for _ in range(10)))
    for _ in range(10):
        started = asyncio.get_running_loop().time()
        assert (await answers(way, get("/health/live", "Connection: close"))).statuses[0] == 200
        assert asyncio.get_running_loop().time() - started < 1.0
    assert set(await trickling) == {408}
