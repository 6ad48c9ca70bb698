from __future__ import annotations

import httpx
import pytest

from tests.api.checks import assert_invalid, assert_refused
from tests.api.conftest import Api, Person
from tests.world import PASSWORD


async def login(api: Api, person: Person, **headers: str) -> httpx.AsyncClient:
    body = {"username": person.username, "password": PASSWORD}
    response = await api.anonymous.post("/auth/login", json=body, headers=headers)
    return api.client(response.json()["token"])


async def test_one_sees_where_one_is_logged_in(api: Api, alice: Person) -> None:
    phone = await login(api, alice, **{"user-agent": "phone/1.0"})
    listed = (await phone.get("/auth/sessions")).json()
    assert [session["current"] for session in listed] == [True, False]
    assert listed[0]["user_agent"] == "phone/1.0"
    assert listed[0]["address"] == "127.0.0.1"
    assert set(listed[0]) == {"id", "created_at", "last_seen", "expires_at", "current", "address", "user_agent"}
    paged = (await phone.get("/auth/sessions?limit=1&offset=1")).json()
    assert [session["id"] for session in paged] == [listed[1]["id"]]
    assert_invalid(await phone.get("/auth/sessions?limit=0"), ("limit", "min"))


async def test_a_session_that_one_ends_is_over(api: Api, alice: Person) -> None:
    phone = await login(api, alice)
    session_id = (await phone.get("/auth/sessions?limit=1")).json()[0]["id"]
    response = await alice.client.delete(f"/auth/sessions/{session_id}")
    assert (response.status_code, response.content) == (204, b"")
    assert_refused(await phone.get("/auth/me"), 401, "invalid or expired token")
    assert (await alice.client.get("/auth/me")).status_code == 200
    again = await alice.client.delete(f"/auth/sessions/{session_id}")
    assert_refused(again, 404, "session not found", "session_not_found")


async def test_all_other_sessions_end_at_once(api: Api, alice: Person, bob: Person) -> None:
    phone, tablet = await login(api, alice), await login(api, alice)
    assert (await phone.delete("/auth/sessions")).status_code == 204
    for other in (tablet, alice.client):
        assert_refused(await other.get("/auth/me"), 401, "invalid or expired token")
    assert len((await phone.get("/auth/sessions")).json()) == 1
    assert (await bob.client.get("/auth/me")).status_code == 200


async def test_anothers_session_is_as_unknown_as_none(alice: Person, bob: Person) -> None:
    theirs = (await bob.client.get("/auth/sessions")).json()[0]["id"]
    answers = [await alice.client.delete(f"/auth/sessions/{number}") for number in (theirs, 2**62)]
    assert answers[0].content == answers[1].content
    assert_refused(answers[0], 404, "session not found", "session_not_found")
    assert (await bob.client.get("/auth/me")).status_code == 200


@pytest.mark.parametrize("number", ["0", "-1", "9223372036854775808", "x", "%00", "1.5"])
async def test_a_session_id_is_a_number(alice: Person, number: str) -> None:
    assert (await alice.client.delete(f"/auth/sessions/{number}")).status_code == 400


async def test_a_suspended_account_says_so_to_its_owner_alone(api: Api, alice: Person) -> None:
    await api.world.operators.suspend(alice.principal.user_id)
    body = {"username": alice.username, "password": PASSWORD}
    refused = await api.anonymous.post("/auth/login", json=body)
    assert_refused(refused, 403, "this account is suspended", "suspended")
    wrong = await api.anonymous.post("/auth/login", json={**body, "password": "wrong-one"})
    assert_refused(wrong, 401, "invalid credentials", "invalid_credentials")
    assert_refused(await alice.client.get("/auth/me"), 401, "invalid or expired token")


async def test_a_ticket_for_a_socket_is_nothing_else(api: Api, alice: Person) -> None:
    response = await alice.client.post("/auth/ws-ticket")
    assert response.status_code == 201
    body = response.json()
    assert body["expires_in"] == 30
    assert_refused(await api.client(body["ticket"]).get("/auth/me"), 401, "invalid or expired token", "invalid_token")


async def test_what_an_admin_does_is_noted_with_the_requests_id(api: Api, alice: Person) -> None:
    chat_id = await api.group(alice)
    await alice.client.put(f"/chats/{chat_id}", json={"name": "knitting"}, headers={"x-request-id": "r-42"})
    async with api.world.database.read() as connection:
        noted = await connection.exec_driver_sql(
            "SELECT request_id FROM audit_log WHERE target = $1", (f"chat:{chat_id}",)
        )
    assert noted.scalars().all() == ["r-42"]
