from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from tests.api.checks import assert_invalid, assert_refused
from tests.api.conftest import BODY_BYTES, Api, Person
from tests.world import PASSWORD

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


async def send(api: Api, body: bytes, content_type: str | None = JSON, **headers: str) -> httpx.Response:
    if content_type is not None:
        headers["content-type"] = content_type
    return await api.anonymous.post("/auth/register", content=body, headers=headers)


def account() -> dict[str, str]:
    return {"username": f"alice-{secrets.token_hex(6)}", "password": PASSWORD}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        b"{",
        b"nonsense",
        b"[]",
        b'"text"',
        b"null",
        b"\xef\xbb\xbf{}",
        b'{"username": "\xff\xfe"}',
        b'{"username": "alice", "username": "bob", "password": "secret1"}',
        b'{"x": {"a": 1, "a": 2}}',
        b'{"x": NaN}',
        b'{"x": -Infinity}',
        b'{"x": 1e999}',
        b'{"x": ' + b"9" * 5000 + b"}",
        b"[" * 20_000,
        b'{"x":' * 16_000 + b"1" + b"}" * 16_000,
    ],
    ids=range(17),
)
async def test_what_is_not_a_json_object_is_refused(api: Api, body: bytes) -> None:
    assert_refused(await send(api, body), 400, code="malformed")


@pytest.mark.parametrize("escape", ["\\u0000", "\\ud800", "\\udc00x"])
async def test_text_that_cannot_be_stored_is_invalid(api: Api, escape: str) -> None:
    body = f'{{"username": "ali{escape}ce", "password": "secret1"}}'.encode()
    assert_invalid(await send(api, body), ("username", "type"))


async def test_unknown_fields_are_ignored(api: Api) -> None:
    response = await send(api, json.dumps({**account(), "is_admin": True, "x": [[1]]}).encode())
    assert response.status_code == 201


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "APPLICATION/JSON", 'application/json; charset="UTF-8"']
)
async def test_json_is_taken_under_its_names(api: Api, content_type: str) -> None:
    assert (await send(api, json.dumps(account()).encode(), content_type)).status_code == 201


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/xml", "application/jsonp", "x", "application/json; charset=utf-16", None],
)
async def test_other_content_types_are_refused(api: Api, content_type: str | None) -> None:
    response = await send(api, json.dumps(account()).encode(), content_type)
    assert_refused(response, 415, code="unsupported_media_type")


async def test_no_body_at_all_is_malformed(api: Api) -> None:
    assert_refused(await api.anonymous.post("/auth/register"), 400, code="malformed")


async def test_a_compressed_body_is_refused(api: Api) -> None:
    response = await send(api, b"\x1f\x8b", **{"content-encoding": "gzip"})
    assert_refused(response, 415, code="unsupported_media_type")


async def test_a_body_over_the_limit_is_refused(api: Api) -> None:
    response = await send(api, b" " * (BODY_BYTES + 1))
    assert_refused(response, 413, "the body is too large", "too_large")


async def test_a_body_over_the_limit_is_refused_without_its_length(api: Api) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(BODY_BYTES // 1000 + 1):
            yield b" " * 1000

    response = await api.anonymous.post("/auth/register", content=chunks(), headers={"content-type": JSON})
    assert_refused(response, 413, code="too_large")


# -- forms ------------------------------------------------------------------------------------------------------------


async def test_every_form_is_as_good_as_json(api: Api, alice: Person, bob: Person) -> None:
    assert (await api.anonymous.post("/auth/register", data=account())).status_code == 201
    multipart = {name: (None, value) for name, value in account().items()}
    assert (await api.anonymous.post("/auth/register", files=multipart)).status_code == 201


@pytest.mark.parametrize("separate", [True, False])
async def test_a_form_has_lists_and_numbers_and_truths(
    alice: Person, bob: Person, carol: Person, separate: bool
) -> None:
    ids = [str(bob.id), str(carol.id)] if separate else f"{bob.id}, {carol.id}"
    made = await alice.client.post("/chats", data={"name": "x", "is_group": "true", "member_ids": ids})
    assert made.status_code == 201
    chat_id = made.json()["id"]
    assert (await alice.client.get(f"/chats/{chat_id}")).json()["member_count"] == 3
    sent = await alice.client.post("/messages", data={"chat_id": str(chat_id), "content": "h\u00e9 \U0001f600 & = +"})
    assert sent.status_code == 201
    assert sent.json()["content"] == "h\u00e9 \U0001f600 & = +"
    edited = await alice.client.put(f"/messages/{sent.json()['id']}", files={"content": (None, "h\u00e9 null")})
    assert edited.json()["content"] == "h\u00e9 null"


async def test_the_word_null_is_a_word_in_a_form(alice: Person) -> None:
    response = await alice.client.put(f"/users/{alice.id}", data={"display_name": "null"})
    assert response.json()["display_name"] == "null"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"name": "x", "is_group": "maybe", "member_ids": "1"}, ("is_group", "type")),
        ({"name": "x", "is_group": "1", "member_ids": "one"}, ("member_ids", "type")),
        ({"name": "x", "is_group": "1", "member_ids": "+1"}, ("member_ids", "type")),
        ({"name": "x", "is_group": "1", "member_ids": "-1"}, ("member_ids", "min")),
        ({"name": "x", "is_group": "1", "member_ids": "9" * 30}, ("member_ids", "max")),
        ({"name": "x", "is_group": "1", "member_ids": ""}, ("member_ids", "min")),
        ({"name": "a\0", "is_group": "1", "member_ids": "1"}, ("name", "type")),
    ],
)
async def test_a_form_must_be_valid(alice: Person, fields: dict[str, str], expected: tuple[str, str]) -> None:
    assert_invalid(await alice.client.post("/chats", data=fields), expected)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"username=%ff%fe&password=secret1",
        b"username=\xff",
        b"username=alice&username=bob&password=secret1",
        b"&".join([b"a=b"] * 3000),
    ],
    ids=range(5),
)
async def test_a_form_that_cannot_be_read_is_refused(api: Api, body: bytes) -> None:
    assert_refused(await send(api, body, FORM), 400, code="malformed")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        b"--b\r\n",
        b'--b\r\ncontent-disposition: form-data; name="username"\r\n\r\n\xff\xfe\r\n--b--\r\n',
        (
            b'--b\r\ncontent-disposition: form-data; name="username"\r\n'
            b"content-type: text/plain; charset=nonsense\r\n\r\nx\r\n--b--\r\n"
        ),
    ],
    ids=range(5),
)
async def test_a_multipart_form_that_cannot_be_read_is_refused(api: Api, body: bytes) -> None:
    assert_refused(await send(api, body, "multipart/form-data; boundary=b"), 400)
    assert_refused(await send(api, body, "multipart/form-data"), 400)


async def test_a_file_is_no_text(api: Api) -> None:
    response = await api.anonymous.post("/auth/register", files={"username": ("a.txt", b"alice")})
    assert_invalid(response, ("username", "type"))


async def test_every_endpoint_with_a_body_reads_both(alice: Person, bob: Person, api: Api) -> None:
    chat_id = await api.group(alice, bob)
    message = await api.message(alice, chat_id)
    endpoints: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/auth/register", account()),
        ("POST", "/auth/login", {"username": alice.username, "password": PASSWORD}),
        ("PUT", f"/users/{alice.id}", {"display_name": "Al"}),
        ("POST", "/chats", {"name": "x", "is_group": True, "member_ids": [bob.id]}),
        ("PUT", f"/chats/{chat_id}", {"name": "y"}),
        ("POST", f"/chats/{chat_id}/members", {"member_ids": [bob.id]}),
        ("PATCH", f"/chats/{chat_id}/members/{bob.id}", {"is_admin": True}),
        ("POST", "/messages", {"chat_id": chat_id, "content": "hello"}),
        ("PUT", f"/messages/{message['id']}", {"content": "hello"}),
    ]
    for method, path, fields in endpoints:
        if path == "/auth/register":
            as_form = urlencode(account())
        else:
            as_form = urlencode(
                {k: str(v).lower() if isinstance(v, bool) else v for k, v in fields.items()}, doseq=True
            )
        for body, content_type in ((json.dumps(fields), JSON), (as_form, FORM)):
            response = await alice.client.request(method, path, content=body, headers={"content-type": content_type})
            assert response.is_success, (method, path, content_type, response.text)
        refused = await alice.client.request(method, path, content="x", headers={"content-type": "text/plain"})
        assert_refused(refused, 415)


# -- addresses --------------------------------------------------------------------------------------------------------

BAD_IDS = ["0", "-1", "+1", "1.0", "x", "\u0661", "%00", "%ff", str(2**63), "9" * 23, "1%20", "%2B1", "0x1", "1e3"]


@pytest.mark.parametrize("bad", BAD_IDS)
@pytest.mark.parametrize(
    ("method", "path", "field"),
    [
        ("GET", "/users/{}", "user_id"),
        ("DELETE", "/chats/{}", "chat_id"),
        ("GET", "/chats/{}/members", "chat_id"),
        ("DELETE", "/chats/1/members/{}", "member_id"),
        ("GET", "/messages/{}", "message_id"),
        ("GET", "/messages/chat/{}", "chat_id"),
    ],
)
async def test_an_id_is_a_positive_whole_number(alice: Person, method: str, path: str, field: str, bad: str) -> None:
    response = await alice.client.request(method, path.format(bad))
    assert response.status_code == 400
    assert [problem["field"] for problem in response.json()["messages"]] == [field]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("limit=0", ("limit", "min")),
        ("limit=101", ("limit", "max")),
        ("limit=-5", ("limit", "min")),
        ("limit=1e3", ("limit", "type")),
        ("limit=", ("limit", "type")),
        ("limit=%D9%A1", ("limit", "type")),
        ("limit=%2B1", ("limit", "type")),
        ("limit=+1", ("limit", "type")),
        ("limit=1&limit=2", ("limit", "max")),
        ("limit=" + "9" * 30, ("limit", "max")),
        ("offset=-1", ("offset", "min")),
        ("offset=" + str(2**63), ("offset", "max")),
        ("before=-1", ("before", "min")),
        ("before=x", ("before", "type")),
        ("after=" + str(2**64), ("after", "max")),
    ],
)
async def test_numbers_in_queries_have_bounds(api: Api, alice: Person, query: str, expected: tuple[str, str]) -> None:
    chat_id = await api.group(alice)
    assert_invalid(await alice.client.get(f"/messages/chat/{chat_id}?{query}"), expected)


async def test_the_bounds_themselves_are_fine(api: Api, alice: Person) -> None:
    chat_id = await api.group(alice)
    for query in (
        "limit=1",
        "limit=100",
        "offset=0",
        f"offset={2**63 - 1}",
        "after=0",
        f"before={2**63 - 1}",
        "x=1&x=2",
    ):
        response = await alice.client.get(f"/messages/chat/{chat_id}?{query}")
        assert response.status_code == 200, (query, response.text)


@pytest.mark.parametrize(
    ("query", "code"), [("q=%ff", "malformed"), ("q=%00", "validation_failed"), ("with_members=2", None)]
)
async def test_text_in_queries_is_text(alice: Person, query: str, code: str | None) -> None:
    path = "/chats" if "with_members" in query else "/users"
    assert_refused(await alice.client.get(f"{path}?{query}"), 400, code=code or "validation_failed")
