from __future__ import annotations

import pytest

from tests.api.checks import assert_invalid, assert_refused
from tests.api.conftest import Api, Person
from tests.world import PASSWORD


async def test_one_user(alice: Person, bob: Person) -> None:
    response = await alice.client.get(f"/users/{bob.id}")
    assert response.status_code == 200
    assert response.json()["username"] == bob.username


async def test_no_such_user(alice: Person) -> None:
    assert_refused(await alice.client.get(f"/users/{2**63 - 1}"), 404, "user not found", "user_not_found")


async def test_users_are_searched(alice: Person, bob: Person) -> None:
    response = await alice.client.get("/users", params={"q": bob.username[:12].upper(), "limit": 5})
    assert [user["id"] for user in response.json()] == [bob.id]
    assert len((await alice.client.get("/users", params={"limit": 1})).json()) == 1


async def test_a_search_that_is_too_long_is_invalid(alice: Person) -> None:
    assert_invalid(await alice.client.get("/users", params={"q": "x" * 101}), ("q", "max"))


async def test_ones_profile_is_changed(alice: Person) -> None:
    response = await alice.client.put(f"/users/{alice.id}", json={"display_name": "Al", "username": "root", "id": 1})
    assert response.status_code == 200
    assert response.json() == {**response.json(), "id": alice.id, "username": alice.username, "display_name": "Al"}


async def test_another_profile_is_not_ones_own(alice: Person, bob: Person) -> None:
    response = await alice.client.put(f"/users/{bob.id}", json={"display_name": "x"})
    assert_refused(response, 403, "you can only update your own profile")
    assert_refused(await alice.client.delete(f"/users/{bob.id}"), 403)


@pytest.mark.parametrize(
    ("body", "expected"),
    [({"password": "12345"}, ("password", "min")), ({"display_name": ["x"]}, ("display_name", "type"))],
)
async def test_a_change_must_be_valid(alice: Person, body: dict[str, object], expected: tuple[str, str]) -> None:
    assert_invalid(await alice.client.put(f"/users/{alice.id}", json=body), expected)


async def test_a_new_password_ends_other_tokens(api: Api, alice: Person) -> None:
    login = await api.anonymous.post("/auth/login", json={"username": alice.username, "password": PASSWORD})
    other = api.client(login.json()["token"])
    assert (await alice.client.put(f"/users/{alice.id}", json={"password": "another one"})).status_code == 200
    assert_refused(await other.get("/auth/me"), 401)
    assert (await alice.client.get("/auth/me")).status_code == 200


async def test_an_account_is_deleted(api: Api, alice: Person, bob: Person) -> None:
    chat_id = await api.group(alice, bob)
    await api.message(alice, chat_id)
    response = await alice.client.delete(f"/users/{alice.id}")
    assert (response.status_code, response.content) == (204, b"")
    assert_refused(await alice.client.get("/auth/me"), 401)
    assert_refused(await bob.client.get(f"/users/{alice.id}"), 404)
    (message, *_) = (await bob.client.get(f"/messages/chat/{chat_id}", params={"after": 0})).json()
    assert message["sender"]["username"] == "deleted user"


async def test_being_here_is_noted(alice: Person) -> None:
    response = await alice.client.post("/users/last-seen")
    assert response.status_code == 200
    assert response.json()["success"] is True
    assert (await alice.client.get("/auth/me")).json()["last_seen"] == response.json()["last_seen"]
