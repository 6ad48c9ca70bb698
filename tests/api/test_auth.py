from __future__ import annotations

import re
import secrets

import httpx
import pytest

from tests.api.checks import assert_invalid, assert_refused
from tests.api.conftest import Api, Person
from tests.world import PASSWORD


def account(**changes: str) -> dict[str, str]:
    return {"username": f"Alice-{secrets.token_hex(6)}", "password": PASSWORD, **changes}


async def test_registering_gives_a_token_and_a_profile(api: Api) -> None:
    given = account(display_name="Al")
    response = await api.anonymous.post("/auth/register", json=given)
    assert response.status_code == 201
    body = response.json()
    assert set(body) == {"token", "user"}
    assert set(body["user"]) == {"id", "username", "display_name", "created_at"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", body["user"]["created_at"])
    me = await api.client(body["token"]).get("/auth/me")
    assert me.json() == body["user"]


async def test_empty_fields_are_left_out(api: Api) -> None:
    body = (await api.anonymous.post("/auth/register", json=account())).json()
    assert set(body["user"]) == {"id", "username", "created_at"}


async def test_a_taken_name_is_a_conflict(api: Api) -> None:
    given = account()
    await api.anonymous.post("/auth/register", json=given)
    response = await api.anonymous.post("/auth/register", json={**given, "username": given["username"].upper()})
    assert_refused(response, 409, "username already exists", "username_taken")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"username": "ab"}, [("username", "min")]),
        ({"username": "x" * 51}, [("username", "max")]),
        ({"username": ""}, [("username", "required")]),
        ({"username": None}, [("username", "required")]),
        ({"username": 7}, [("username", "type")]),
        ({"username": "a\0bc"}, [("username", "type")]),
        ({"password": "12345"}, [("password", "min")]),
        ({"password": "x" * 1025}, [("password", "max")]),
        ({"display_name": "x" * 101}, [("display_name", "max")]),
        ({"username": "ab", "password": "1"}, [("username", "min"), ("password", "min")]),
    ],
)
async def test_what_does_not_validate_is_told_by_field(
    api: Api, changes: dict[str, object], expected: list[tuple[str, str]]
) -> None:
    assert_invalid(await api.anonymous.post("/auth/register", json={**account(), **changes}), *expected)


async def test_fields_that_are_missing_are_told_together(api: Api) -> None:
    response = await api.anonymous.post("/auth/register", json={"display_name": 5})
    assert_invalid(response, ("username", "required"), ("password", "required"), ("display_name", "type"))


async def test_logging_in(api: Api, alice: Person) -> None:
    response = await api.anonymous.post("/auth/login", json={"username": alice.username, "password": PASSWORD})
    assert response.status_code == 200
    assert response.json()["user"]["id"] == alice.id


async def test_wrong_credentials_do_not_say_what_was_wrong(api: Api, alice: Person) -> None:
    for username, password in ((alice.username, "wrong-one"), ("nobody-" + secrets.token_hex(4), PASSWORD)):
        response = await api.anonymous.post("/auth/login", json={"username": username, "password": password})
        assert_refused(response, 401, "invalid credentials", "invalid_credentials")


async def test_a_token_that_was_logged_out_is_refused(alice: Person) -> None:
    response = await alice.client.post("/auth/logout")
    assert (response.status_code, response.content) == (204, b"")
    assert_refused(await alice.client.get("/auth/me"), 401, "invalid or expired token")


async def test_a_token_is_renewed_and_the_old_one_still_works(api: Api, alice: Person) -> None:
    response = await alice.client.post("/auth/refresh")
    assert response.status_code == 200
    renewed = api.client(response.json()["token"])
    assert (await renewed.get("/auth/me")).json()["id"] == alice.id
    assert (await alice.client.get("/auth/me")).status_code == 200


# -- the header -------------------------------------------------------------------------------------------------------

PROTECTED = [
    ("GET", "/auth/sessions"), ("DELETE", "/auth/sessions"), ("DELETE", "/auth/sessions/1"),
    ("POST", "/auth/ws-ticket"),
    ("POST", "/auth/logout"), ("POST", "/auth/refresh"), ("GET", "/auth/me"), ("GET", "/users"), ("GET", "/users/1"),
    ("PUT", "/users/1"), ("DELETE", "/users/1"), ("POST", "/users/last-seen"), ("POST", "/chats"), ("GET", "/chats"),
    ("GET", "/chats/1"), ("PUT", "/chats/1"), ("DELETE", "/chats/1"), ("GET", "/chats/1/members"),
    ("POST", "/chats/1/members"), ("PATCH", "/chats/1/members/1"), ("DELETE", "/chats/1/members/1"),
    ("POST", "/messages"), ("GET", "/messages/1"), ("GET", "/messages/chat/1"), ("PUT", "/messages/1"),
    ("DELETE", "/messages/1"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), PROTECTED)
async def test_nothing_is_open_without_a_token(api: Api, method: str, path: str) -> None:
    response = await api.anonymous.request(method, path)
    assert_refused(response, 401, "missing authorization header")
    assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "token", "Basic abc", "Bearer a b", "bearer\ta"])
async def test_a_header_in_another_format_is_told_so(api: Api, header: str) -> None:
    response = await api.anonymous.get("/auth/me", headers={"authorization": header})
    assert_refused(response, 401, "invalid authorization header format")


@pytest.mark.parametrize(
    "token", ["x", "v4.local.x", "v4.local." + "A" * 300, "A" * 100_000, "v4.public.x", "\u00e9", "v4.local.\u00ff"]
)
async def test_a_bad_token_is_refused(api: Api, token: str) -> None:
    headers = [(b"authorization", b"Bearer " + token.encode("latin-1"))]
    response = await api.anonymous.get("/auth/me", headers=httpx.Headers(headers))
    assert_refused(response, 401, "invalid or expired token", "invalid_token")


async def test_the_scheme_is_taken_in_any_case(api: Api, alice: Person) -> None:
    token = alice.client.headers["authorization"].removeprefix("Bearer ")
    response = await api.anonymous.get("/auth/me", headers={"authorization": f"bearer {token}"})
    assert response.status_code == 200


@pytest.mark.parametrize(("rate", "path"), [("register", "/auth/register"), ("login", "/auth/login")])
async def test_trying_too_often_is_refused_for_a_while(api: Api, rate: str, path: str) -> None:
    api.operator.exhausted.add(rate)
    asked = account()
    response = await api.anonymous.post(path, json=asked)
    assert_refused(response, 429, "too many requests", "rate_limited")
    assert response.headers["retry-after"] == "3"
    who = "127.0.0.1" if rate == "register" else ("127.0.0.1", asked["username"])
    assert api.operator.spent == [(rate, who)]
