"""Whatever comes over TCP is answered clearly or cut off, and costs the others nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from tests.acceptance.client import Account, Rest, rests
from tests.acceptance.raw import CLOSE, TEXT, Answer, handshake, masked, request, upgraded, wire
from tests.acceptance.replicas import ReplicaProcess, Replicas

pytestmark = pytest.mark.alone

HEARTBEAT_S = 1
HEADERS_S, BODY_S = 2.0, 4.0
"""How long the headers and the body of a request may take to arrive; by default it is more."""
DEEP = 100_000
FAR = str(2**64)
CLOSED = 0

API = "/api/v1"
BIG = 1 << 20


@pytest.fixture(scope="module")
def replica(site: Replicas) -> ReplicaProcess:
    return site.start(
        1,
        CHATAPP_DELIVERY__HEARTBEAT_S=str(HEARTBEAT_S),
        CHATAPP_LIMITS__HEADERS_TIMEOUT_S=str(HEADERS_S),
        CHATAPP_LIMITS__BODY_TIMEOUT_S=str(BODY_S),
    )[0]


@pytest.fixture
async def rest(replica: ReplicaProcess) -> AsyncIterator[Rest]:
    async with rests(replica) as (one,):
        yield one


@pytest.fixture
async def ann(rest: Rest) -> Account:
    return await rest.register("ann")


@pytest.fixture(autouse=True)
def _still_well(replica: ReplicaProcess) -> Iterator[None]:
    """After each test: it answers, and nothing in it broke."""
    before = len(replica.output)
    yield
    assert httpx.get(f"{replica.url}/health", trust_env=False).status_code == 200
    for word in ("Traceback", '"level": "error"', "v4.local."):
        assert word not in replica.output[before:]


async def ask(replica: ReplicaProcess, data: bytes) -> Answer:
    """Send it and see what comes."""
    async with wire(replica) as opened:
        await opened.write(data)
        return await opened.answer()


def assert_clear(answer: Answer, *statuses: int) -> None:
    """One of these, with a sentence and a word for it."""
    assert answer.status in statuses, answer
    refusal = json.loads(answer.body)
    assert refusal["error"]
    assert refusal["code"]


# -- bodies ----------------------------------------------------------------------------------------------------------

_USER = '{"username": "%s", "password": "correct horse"}'


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"username": ' + b"[" * DEEP + b"]" * DEEP + b"}", id="100,000 nested lists"),
        pytest.param(b'{"a":' * DEEP + b"1" + b"}" * DEEP, id="100,000 nested objects"),
        pytest.param(b"[" * DEEP, id="100,000 brackets that are never closed"),
        pytest.param((_USER % "a\0b").encode(), id="NUL"),
        pytest.param((_USER % "ab\\u0000cd").encode(), id="NUL, escaped"),
        pytest.param((_USER % "abc\\ud800").encode(), id="a lone surrogate"),
        pytest.param((_USER % "abc\\udc00\\ud800").encode(), id="surrogates the wrong way round"),
        pytest.param((_USER % "abc").encode().replace(b"abc", b"abc\xff"), id="not UTF-8"),
        pytest.param((_USER % "abc").encode().replace(b"abc", b"abc\xed\xa0\x80"), id="a surrogate in UTF-8"),
        pytest.param((_USER % "abc").encode("utf-16"), id="UTF-16"),
        pytest.param(b'{"username": "abc", "username": "abd", "password": "correct horse"}', id="a key twice"),
        pytest.param(b'{"username": "abc", "password": "correct horse", "x": NaN}', id="NaN"),
        pytest.param(b'{"username": "abc", "password": "correct horse", "x": -Infinity}', id="infinity"),
        pytest.param(b'{"username": "abc", "password": "correct horse", "x": 1e999}', id="1e999"),
        pytest.param(b'{"username": "abc", "password": "correct horse", "x": ' + b"9" * 9000 + b"}", id="9,000 digits"),
        pytest.param(b'{"username": "abc", "password": "correct horse"', id="cut off"),
        pytest.param(b'{"username": "abc", "password": "correct horse"} {}', id="two values"),
        pytest.param(b'["abc", "correct horse"]', id="a list"),
        pytest.param(b"null", id="null"),
        pytest.param(b" \r\n\t", id="white space"),
        pytest.param(b'{"username": ["abc"], "password": {"a": 1}}', id="wrong types"),
    ],
)
async def test_a_body_that_makes_no_sense_is_a_400(replica: ReplicaProcess, body: bytes) -> None:
    assert_clear(await ask(replica, request("POST", f"{API}/auth/register", body)), 400)


@pytest.mark.parametrize(
    "number", [FAR, str(2**63), "-1", "0", "1" + "0" * 39, "1" * 5000, "1.5", "1e300", "-0.0", "true", '"1"', "[1]"]
)
async def test_an_id_that_is_none_is_a_400(replica: ReplicaProcess, ann: Account, number: str) -> None:
    bodies = {
        f"{API}/messages": f'{{"chat_id": {number}, "content": "x"}}',
        f"{API}/chats": f'{{"name": "x", "is_group": true, "member_ids": [{number}]}}',
    }
    for path, body in bodies.items():
        assert_clear(await ask(replica, request("POST", path, body.encode(), token=ann.token)), 400)


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("text/plain", 415),
        ("application/json; charset=utf-16", 415),
        ("application/json\r\nContent-Encoding: gzip", 415),
        (";;;==", 415),
        ("multipart/form-data", 400),
        ("multipart/form-data; boundary=", 400),
        ("multipart/form-data; boundary=x", 400),
        ("multipart/form-data; boundary=" + "x" * 5000, 400),
        ("application/x-www-form-urlencoded", 400),
    ],
)
async def test_a_body_of_another_type_is_refused(replica: ReplicaProcess, content_type: str, status: int) -> None:
    body = (_USER % "abc").encode()
    assert_clear(
        await ask(replica, request("POST", f"{API}/auth/register", body, f"Content-Type: {content_type}")), status
    )


@pytest.mark.parametrize(
    "part",
    [
        b'Content-Disposition: form-data; name="username"; filename="x"\r\n\r\nabc',
        b"Content-Disposition: form-data\r\n\r\nabc",
        b'Content-Disposition: form-data; name="username"\r\nContent-Type: text/plain; charset=no-such\r\n\r\nabc',
        b'Content-Disposition: form-data; name="username"\r\n\r\n\xff\xfe',
        b'Content-Disposition: form-data; name="username"\r\n\r\na\0b',
        b"no header at all",
        b"",
    ],
)
async def test_a_form_with_an_odd_part_is_a_400(replica: ReplicaProcess, part: bytes) -> None:
    body = b"--x\r\n" + part + b"\r\n--x--\r\n"
    header = "Content-Type: multipart/form-data; boundary=x"
    assert_clear(await ask(replica, request("POST", f"{API}/auth/register", body, header)), 400)


async def test_a_form_of_thousands_of_fields_is_a_400(replica: ReplicaProcess) -> None:
    header = "Content-Type: application/x-www-form-urlencoded"
    assert_clear(await ask(replica, request("POST", f"{API}/auth/register", b"a=1&" * 5000, header)), 400)


async def test_a_body_that_says_it_is_too_large_is_refused_before_it_comes(replica: ReplicaProcess) -> None:
    head = request("POST", f"{API}/auth/login", b"", "Content-Type: application/json", f"Content-Length: {BIG + 1}")
    assert_clear(await ask(replica, head), 413)


async def test_a_chunked_body_that_grows_too_large_is_refused(replica: ReplicaProcess) -> None:
    head = request("POST", f"{API}/auth/login", b"", "Content-Type: application/json", "Transfer-Encoding: chunked")
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    assert_clear(await ask(replica, head + chunk * 20), 413)


# -- addresses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"{API}/users/{FAR}", 400),
        (f"{API}/users/{2**63}", 400),
        (f"{API}/users/-1", 400),
        (f"{API}/users/0", 400),
        (f"{API}/users/1.0", 400),
        (f"{API}/users/%D9%A1", 400),
        (f"{API}/users/%00", 400),
        (f"{API}/users/1%00", 400),
        (f"{API}/users/%FF", 400),
        (f"{API}/users/%ED%A0%80", 400),
        (f"{API}/users/%", 400),
        (f"{API}/users/%zz", 400),
        (f"{API}/users/%2e%2e", 400),
        (f"{API}/users/1%2F2", 404),
        (f"{API}/users/1/2", 404),
        (f"{API}/users/..%2f..%2fetc%2fpasswd", 404),
        (f"{API}/users?limit=%D9%A1", 400),
        (f"{API}/users?limit=1&limit=2", 400),
        (f"{API}/users?limit={'1' * 5000}", 400),
        (f"{API}/users?limit=-0", 400),
        (f"{API}/users?offset={FAR}", 400),
        (f"{API}/users?q=%00", 400),
        (f"{API}/users?q=%FF", 400),
        (f"{API}/users?q=%ED%A0%80", 400),
        (f"{API}/users?{'a=1&' * 2000}", 400),
        (f"{API}/messages/chat/1?after=NaN", 400),
        (f"{API}/messages/chat/1?before=1e3", 400),
        ("/%00", 404),
        ("/..", 404),
        ("/%FF%FE", 404),
        ("/" + "a" * 20_000, 404),
        ("/" + "a/" * 10_000, 404),
        (f"{API}/nothing", 404),
    ],
)
async def test_an_odd_address_is_a_clear_refusal(replica: ReplicaProcess, ann: Account, path: str, status: int) -> None:
    assert_clear(await ask(replica, request("GET", path, token=ann.token)), status)


@pytest.mark.parametrize("method", ["TRACE", "PROPFIND", "LOCK", "PURGE", "PUT", "DELETE", "PATCH"])
async def test_a_method_that_is_not_known_there_is_a_405(replica: ReplicaProcess, ann: Account, method: str) -> None:
    assert_clear(await ask(replica, request(method, f"{API}/auth/login", token=ann.token)), 405)


@pytest.mark.parametrize(
    "token", ["", "x", "v4.local.", "v4.local." + "A" * 60_000, "v4.public.AAAA", "\xff\xfe", "a b"]
)
async def test_a_token_that_is_none_is_a_401(replica: ReplicaProcess, token: str) -> None:
    bearer = f"Authorization: Bearer {token}\r\n\r\n".encode("latin-1")
    assert_clear(await ask(replica, request("GET", f"{API}/auth/me")[:-2] + bearer), 401)
    # A header of more than 8 KiB is refused with 400 before anybody looks at the token.
    assert_clear(await ask(replica, handshake("")[:-2] + bearer), 401 if len(token) < 8000 else 400)


# -- HTTP itself is broken -------------------------------------------------------------------------------------------

_POST = b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\r\n\r\n\0\0\0\0garbage\r\n\r\n", id="garbage"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500, id="TLS"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="HTTP/2"),
        pytest.param(b"GET /health HTTP/9.9\r\nHost: x\r\n\r\n", id="HTTP/9.9"),
        pytest.param(b"BREW /health HTTP/1.1\r\nHost: x\r\n\r\n", id="a method that HTTP does not know"),
        pytest.param(b"get /health HTTP/1.1\r\nHost: x\r\n\r\n", id="a method in small letters"),
        pytest.param(b"GET /hea lth HTTP/1.1\r\nHost: x\r\n\r\n", id="a space in the address"),
        pytest.param(b"GET /hea\xb2lth HTTP/1.1\r\nHost: x\r\n\r\n", id="an address that is not ASCII"),
        pytest.param(b"GET /health?\xff HTTP/1.1\r\nHost: x\r\n\r\n", id="a query that is not ASCII"),
        pytest.param(b"GET /health HTTP/1.1\r\nHost x\r\n\r\n", id="a header without a colon"),
        pytest.param(b"GET /health HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n", id="NUL in a header"),
        pytest.param(b"GET /health HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n", id="a space before the colon"),
        pytest.param(_POST + b"Content-Length: -1\r\n\r\n", id="a negative length"),
        pytest.param(_POST + b"Content-Length: two\r\n\r\n{}", id="a length that is no number"),
        pytest.param(_POST + b"Content-Length: 99999999999999999999999\r\n\r\n{}", id="a length beyond 64 bits"),
        pytest.param(_POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}}", id="two lengths"),
        pytest.param(_POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}", id="length and chunks"),
        pytest.param(_POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n", id="a chunk size of letters"),
        pytest.param(_POST + b"Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n", id="a negative chunk size"),
        pytest.param(
            _POST + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n{}", id="a chunk size beyond 64 bits"
        ),
        pytest.param(_POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}garbage", id="a chunk that goes on"),
    ],
)
async def test_what_is_no_http_is_refused_or_cut_off(replica: ReplicaProcess, data: bytes) -> None:
    async with wire(replica) as opened:
        await opened.write(data)
        answer = await opened.answer()
        assert answer.status == CLOSED or 400 <= answer.status < 500
        assert await opened.is_closed()


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([f"X-{number}: y" for number in range(20_000)], id="20,000 headers"),
        pytest.param(["X-Long: " + "y" * (8 << 20)], id="a header of 8 MiB"),
        pytest.param(["Cookie: " + "a=b; " * 100_000], id="100,000 cookies"),
    ],
)
async def test_huge_headers_do_no_harm(replica: ReplicaProcess, headers: list[str]) -> None:
    answer = await ask(replica, request("GET", "/health", b"", *headers))
    assert answer.status in (CLOSED, 431)


async def test_headers_that_never_end_are_answered_with_408_and_hold_no_socket(
    replica: ReplicaProcess, ann: Account
) -> None:
    async def end_of(first: bytes, more: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", replica.port)
        try:
            writer.write(first)
            async with asyncio.timeout(25):
                while (chunk := asyncio.create_task(reader.read(65536))) and not (
                    await asyncio.wait((chunk,), timeout=0.5)
                )[0]:
                    chunk.cancel()
                    writer.write(more)
                said = await chunk
                with contextlib.suppress(ConnectionResetError):  # for what was sent after the answer
                    assert await reader.read() == b"" or said == b""
                return said
        finally:
            writer.transport.abort()

    complete = request("GET", "/health", b"")
    answers = await asyncio.gather(
        end_of(b"", b""),
        end_of(b"GET /hea", b""),
        end_of(b"GET /health HTTP/1.1\r\nHost: x\r\nX-Trickle: ", b"y"),
        end_of(b"GET /health HTTP/1.1\r\n", b"X-More: y\r\n"),
        end_of(handshake(ann.token)[:-30], b""),
    )
    assert all(answer.startswith(b"HTTP/1.1 408 ") for answer in answers)
    async with wire(replica) as opened:
        await opened.write(complete + b"GET /health HT")
        assert (await opened.answer()).status == 200
        assert (await opened.answer(within_s=15)).status == 408
        assert await opened.is_closed()


async def test_a_request_that_follows_a_body_of_another_length_is_not_believed(replica: ReplicaProcess) -> None:
    data = request("POST", f"{API}/auth/login", b"{}", "Content-Length: 2")
    smuggled = data.replace(b"Content-Length: 2\r\n", b"", 1) + b"xx GET /health HTTP/1.1\r\n\r\n"
    async with wire(replica) as opened:
        await opened.write(smuggled)
        assert (await opened.answer()).status == 400
        assert (await opened.answer()).status in (CLOSED, 400)


@pytest.mark.parametrize("at", [10, 60, 140, -1])
async def test_a_client_that_vanishes_within_a_request_leaves_no_trace(replica: ReplicaProcess, at: int) -> None:
    data = request("POST", f"{API}/auth/login", b'{"username": "abc", "password": "correct horse"}')
    async with wire(replica) as opened:
        await opened.write(data[:at])
        opened.vanish()
    async with wire(replica) as opened:
        await opened.write(data[:at])
        opened.write_eof()
        assert await opened.is_closed()


async def test_bodies_that_never_end_are_answered_with_408_and_hold_nobody_up(
    replica: ReplicaProcess, rest: Rest, ann: Account
) -> None:
    async def endless(head: bytes, drop: bytes) -> Answer:
        async with wire(replica) as opened:
            await opened.write(head)

            async def trickle() -> None:
                while True:
                    await opened.write(drop)
                    await asyncio.sleep(0.5)

            trickling = asyncio.create_task(trickle())
            try:
                return await opened.answer(BODY_S + 10)
            finally:
                trickling.cancel()

    kind = "Content-Type: application/json"
    register = f"{API}/auth/register"
    form = "Content-Type: multipart/form-data; boundary=x"
    answers = asyncio.gather(
        endless(request("POST", register, b"", kind, "Content-Length: 1000"), b""),
        endless(request("POST", register, b"", kind, "Content-Length: 1000"), b" "),
        endless(request("POST", register, b"", kind, "Transfer-Encoding: chunked"), b"1\r\n \r\n"),
        endless(request("POST", register, b"", form, "Transfer-Encoding: chunked"), b"1\r\n \r\n"),
        endless(request("POST", f"{API}/messages", b"", kind, "Content-Length: 9", token=ann.token), b""),
        *(endless(request("POST", register, b"", kind, "Content-Length: 1000"), b"") for _ in range(100)),
    )
    chat = await rest.group(ann)
    assert (await rest.send(ann, chat, "meanwhile"))["content"] == "meanwhile"
    for answer in await answers:
        assert_clear(answer, 408)


async def test_a_connection_is_in_order_after_a_head(replica: ReplicaProcess) -> None:
    async with httpx.AsyncClient(base_url=replica.url, trust_env=False) as client:
        head, got = await client.head("/health/live"), await client.get("/health/live")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(got.content))
    assert got.json() == {"status": "ok"}


# -- sockets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "statuses"),
    [
        (b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Version: 8", (400, 426)),
        (b"Sec-WebSocket-Version: 13\r\n", b"", (400, 426)),
        (b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", b"", (400,)),
        (b"dGhlIHNhbXBsZSBub25jZQ==", b"short", (400,)),
        (b"dGhlIHNhbXBsZSBub25jZQ==", b"\xff", (400,)),
        (b"\r\n\r\n", b"\r\nSec-WebSocket-Protocol: \xff, ,\r\n\r\n", (400,)),
        (b"Upgrade: websocket\r\n", b"", (400, 404, 426)),
        (b"GET /ws ", b"POST /ws ", (400, 404, 405, 426)),
        (b"GET /ws ", b"GET /elsewhere ", (404,)),
        (b"GET /ws ", b"GET /ws?resume=x ", (400,)),
        (b"GET /ws ", b"GET /ws?resume=1:" + FAR.encode() + b" ", (400,)),
        (b"GET /ws ", b"GET /ws?follow=%00 ", (400,)),
        (b"GET /ws ", b"GET /ws?token=%00%FF ", (401,)),
        (b"GET /ws ", b"GET /ws?" + b"a=1&" * 1000 + b" ", (400,)),
    ],
)
async def test_a_handshake_that_is_none_is_refused(
    replica: ReplicaProcess, ann: Account, old: bytes, new: bytes, statuses: tuple[int, ...]
) -> None:
    data = handshake(ann.token)
    assert old in data
    assert_clear(await ask(replica, data.replace(old, new)), *statuses)


async def test_a_frame_that_comes_with_the_handshake_breaks_nothing(replica: ReplicaProcess, ann: Account) -> None:
    # A client has to wait for the answer (RFC 6455 section 4.1): what it sends before may be lost.
    async with wire(replica) as opened:
        await opened.write(handshake(ann.token) + masked(b'{"type": "ping", "payload": {}, "id": "early"}'))
        assert (await opened.answer()).status in (CLOSED, 101, 400)
        await opened.write(masked(b'{"type": "ping", "payload": {}, "id": "late"}'))
        heard = await opened.frame()
        while heard[0] != CLOSE and b'"late"' not in heard[1]:
            heard = await opened.frame()


async def test_frames_without_a_handshake_are_no_http(replica: ReplicaProcess) -> None:
    async with wire(replica) as opened:
        await opened.write(masked(b'{"type": "ping", "payload": {}}') * 10)
        answer = await opened.answer()
        assert answer.status == CLOSED or 400 <= answer.status < 500
        assert await opened.is_closed()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(b"\x81\x05hello", 1002, id="not masked"),
        pytest.param(b"\xc1\x80\0\0\0\0", 1002, id="compressed, though nobody agreed to it"),
        pytest.param(b"\x83\x80\0\0\0\0", 1002, id="an opcode that is reserved"),
        pytest.param(b"\x80\x80\0\0\0\0", 1002, id="nothing to continue"),
        pytest.param(b"\x09\x80\0\0\0\0", 1002, id="a ping in pieces"),
        pytest.param(masked(b"x" * 126, 0x89), 1002, id="a ping that is too long"),
        pytest.param(masked(b"\0\0", 0x88), 1002, id="a close code that is none"),
        pytest.param(masked(b"x", 0x82), 1003, id="binary"),
        pytest.param(masked(b"\xff"), 1007, id="not UTF-8"),
        pytest.param(b"\x81\xff\x7f" + b"\xff" * 7 + b"\0\0\0\0", 1009, id="a length of 2^63"),
        pytest.param(b"\x81\xff" + (65537).to_bytes(8, "big") + b"\0\0\0\0", 1009, id="a length over the limit"),
        pytest.param(masked(b"", 0x01) + masked(b"", 0x00) * 2000, 1008, id="fragments without end"),
        pytest.param(masked(b'{"a":' * 10_000) * 3, 4400, id="deep JSON, again and again"),
        pytest.param(masked(b"[" * 60_000) * 20, 4429, id="what is no command, again and again"),
    ],
)
async def test_a_frame_that_is_none_ends_the_connection_with_its_code(
    replica: ReplicaProcess, ann: Account, data: bytes, code: int
) -> None:
    async with upgraded(replica, ann.token) as opened:
        await opened.write(data)
        assert await opened.close_code() == code
        assert await opened.is_closed()


@pytest.mark.parametrize(
    "command",
    [
        "[" * 60_000,
        '{"type": "message", "payload": {"chat_id": %d, "content": "a\\u0000b"}}',
        '{"type": "message", "payload": {"chat_id": %d, "content": "\\ud800"}}',
        '{"type": "message", "payload": {"chat_id": %d, "content": "a\0b"}}',
        '{"type": "message", "payload": {"chat_id": %d, "content": "a", "content": "b"}}',
        '{"type": "message", "payload": {"chat_id": %d, "content": "a", "nonce": ""}}',
        '{"type": "message", "payload": {"chat_id": %d, "content": "a", "nonce": "\\u0000"}}',
        '{"type": "message", "payload": {"chat_id": ' + FAR + ', "content": "a"}}',
        '{"type": "message", "payload": {"chat_id": -1, "content": "a"}}',
        '{"type": "message", "payload": {"chat_id": NaN, "content": "a"}}',
        '{"type": "message", "payload": {"chat_id": 1e999, "content": "a"}}',
        '{"type": "message", "payload": {"chat_id": %d.5, "content": "a"}}',
        '{"type": "message", "payload": {"chat_id": ' + "9" * 5000 + ', "content": "a"}}',
        '{"type": "join_chat", "payload": {"chat_id": %d, "after_seq": -1}}',
        '{"type": "join_chat", "payload": {"chat_id": %d, "after_seq": ' + FAR + "}}",
        '{"type": "read", "payload": {"chat_id": %d, "seq": 1e400}}',
        '{"type": "resume", "payload": {"positions": {"x": 1}}}',
        '{"type": "resume", "payload": {"positions": {"' + FAR + '": 1}}}',
        '{"type": ["message"], "payload": {}}',
        '{"type": {"a": 1}, "payload": {}}',
        '{"type": null}',
        '{"payload": {}}',
        '{"type": "message", "payload": null}',
        '{"type": "message", "payload": []}',
        '{"type": "ping", "payload": {}, "id": {"a": 1}}',
        '{"type": "ping", "payload": {}, "id": 1e999}',
        '{"type": "nothing", "payload": {}}',
        '{"type": "\\ud800", "payload": {}}',
        "null",
        "[]",
        '""',
        "",
    ],
)
async def test_a_command_that_is_none_is_answered_with_an_error_and_the_connection_stays(
    replica: ReplicaProcess, rest: Rest, ann: Account, command: str
) -> None:
    chat = await rest.group(ann)
    async with upgraded(replica, ann.token) as opened:
        await opened.write(masked(command.replace("%d", str(chat)).encode()))
        while b'"error"' not in (frame := await opened.frame())[1]:
            assert frame[0] == TEXT
        refusal = json.loads(frame[1])
        assert refusal["payload"]["code"] not in ("", "internal")
        await opened.write(masked(b'{"type": "ping", "payload": {}, "id": "after"}'))
        while b'"pong"' not in (frame := await opened.frame())[1]:
            assert frame[0] == TEXT
    assert [m for m in await rest.history(ann, chat) if m["kind"] == "text"] == []


async def test_half_a_frame_and_then_silence_ends_with_the_heartbeat(replica: ReplicaProcess, ann: Account) -> None:
    async def stop_after(part: bytes) -> None:
        async with upgraded(replica, ann.token) as opened:
            await opened.write(part)
            assert await opened.close_code() == 4408
            assert await opened.is_closed()

    whole = masked(b'{"type": "ping", "payload": {}}')
    async with asyncio.TaskGroup() as all_parts:
        for part in (whole[:1], whole[:5], whole[:-1], masked(b"{", 0x01)):
            all_parts.create_task(stop_after(part))


async def test_a_frame_that_trickles_is_no_sign_of_life(replica: ReplicaProcess, ann: Account) -> None:
    async with upgraded(replica, ann.token) as opened:
        await opened.write(b"\x81\xff" + (60_000).to_bytes(8, "big") + b"\0\0\0\0")

        async def trickle() -> None:
            while True:
                await opened.write(b"x")
                await asyncio.sleep(0.1)

        trickling = asyncio.create_task(trickle())
        try:
            assert await opened.close_code() == 4408
        finally:
            trickling.cancel()


async def test_a_client_that_vanishes_within_a_frame_is_forgotten(
    replica: ReplicaProcess, rest: Rest, ann: Account
) -> None:
    async with upgraded(replica, ann.token) as opened:
        await opened.write(masked(b'{"type": "ping", "payload": {}}')[:9])
        opened.vanish()
    async with asyncio.timeout(10), httpx.AsyncClient(trust_env=False) as client:
        while (await client.get(f"{replica.url}/ws/health")).json()["websocket"]["connections"]:
            await asyncio.sleep(0.02)


async def test_hundreds_of_requests_that_stay_half_said_hold_nobody_up(
    replica: ReplicaProcess, rest: Rest, ann: Account
) -> None:
    half = handshake(ann.token)[:-30]
    opened = [await asyncio.open_connection("127.0.0.1", replica.port) for _ in range(300)]
    try:
        for number, (_, writer) in enumerate(opened):
            writer.write(half[: number % len(half)])
        chat = await rest.group(ann)
        assert (await rest.send(ann, chat, "meanwhile"))["content"] == "meanwhile"
        async with upgraded(replica, ann.token):
            pass
    finally:
        for _, writer in opened:
            writer.transport.abort()
