from __future__ import annotations

from typing import Any

import pytest

from tests.api.checks import assert_invalid, assert_refused
from tests.api.conftest import Api, Person

CHAT = {"id", "name", "is_group", "creator_id", "created_at", "updated_at", "last_seq"}
DETAIL = CHAT | {"members", "member_count", "unread_count", "last_read_seq"}
STRANGER = ("you are not a member of this chat", "not_a_member")
NO_CHAT = 2**62


async def test_a_group_is_created(alice: Person, bob: Person) -> None:
    response = await alice.client.post(
        "/chats", json={"name": "climbing", "is_group": True, "member_ids": [bob.id], "creator_id": bob.id}
    )
    assert response.status_code == 201
    body = response.json()
    assert set(body) == CHAT
    assert (body["name"], body["is_group"], body["creator_id"], body["last_seq"]) == ("climbing", True, alice.id, 0)


async def test_a_direct_chat_exists_once(alice: Person, bob: Person) -> None:
    first = await alice.client.post("/chats", json={"is_group": False, "member_ids": [bob.id]})
    again = await bob.client.post("/chats", json={"is_group": False, "member_ids": [alice.id], "name": "x"})
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"is_group": True, "member_ids": [1]}, [("name", "required")]),
        ({"name": "x" * 101, "is_group": True, "member_ids": [1]}, [("name", "max")]),
        ({"name": "x", "is_group": True, "member_ids": []}, [("member_ids", "min")]),
        ({"name": "x", "is_group": True, "member_ids": [0]}, [("member_ids", "min")]),
        ({"name": "x", "is_group": True, "member_ids": [-1]}, [("member_ids", "min")]),
        ({"name": "x", "is_group": True, "member_ids": [2**63]}, [("member_ids", "max")]),
        ({"name": "x", "is_group": True, "member_ids": [10**30]}, [("member_ids", "max")]),
        ({"name": "x", "is_group": True, "member_ids": ["1"]}, [("member_ids", "type")]),
        ({"name": "x", "is_group": True, "member_ids": [1.5]}, [("member_ids", "type")]),
        ({"name": "x", "is_group": True, "member_ids": [True]}, [("member_ids", "type")]),
        ({"name": "x", "is_group": True, "member_ids": 1}, [("member_ids", "type")]),
        ({"name": "x", "is_group": True, "member_ids": [2**62]}, [("member_ids", "exists")]),
        ({"name": "x", "is_group": True, "member_ids": [1] * 1001}, [("member_ids", "max")]),
        ({"name": "x", "is_group": 1, "member_ids": [1]}, [("is_group", "type")]),
        ({"name": "x"}, [("is_group", "required"), ("member_ids", "required")]),
        ({"name": "a\0", "is_group": True, "member_ids": [1]}, [("name", "type")]),
        ({"is_group": False, "member_ids": [1, 2, 3]}, [("member_ids", "max")]),
    ],
)
async def test_a_chat_must_be_valid(alice: Person, body: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert_invalid(await alice.client.post("/chats", json=body), *expected)
    assert (await alice.client.get("/chats")).json() == []


async def test_ones_chats_are_listed(api: Api, alice: Person, bob: Person) -> None:
    first, second = await api.group(alice, bob), await api.group(alice)
    await api.message(bob, first)
    listed = (await alice.client.get("/chats")).json()
    assert [chat["id"] for chat in listed] == [first, second]
    assert set(listed[0]) == DETAIL
    assert set(listed[0]["members"][0]) == {"user_id", "username", "is_admin", "joined_at"}
    assert listed[0]["members"][0]["joined_at"].endswith("Z")
    assert (listed[0]["unread_count"], listed[0]["member_count"]) == (1, 2)
    bare = (await alice.client.get("/chats", params={"with_members": "false", "limit": 1})).json()
    assert [(chat["id"], chat["members"], chat["member_count"]) for chat in bare] == [(first, [], 2)]


async def test_one_chat_is_for_its_members(api: Api, alice: Person, bob: Person) -> None:
    chat_id = await api.group(alice)
    assert set((await alice.client.get(f"/chats/{chat_id}")).json()) == DETAIL
    assert_refused(await bob.client.get(f"/chats/{chat_id}"), 403, *STRANGER)
    assert_refused(await bob.client.get(f"/chats/{NO_CHAT}"), 403, *STRANGER)


async def test_an_admin_renames(api: Api, alice: Person, bob: Person, carol: Person) -> None:
    chat_id = await api.group(alice, bob)
    response = await alice.client.put(f"/chats/{chat_id}", json={"name": " new "})
    assert response.status_code == 200
    assert (response.json()["name"], response.json()["last_seq"]) == ("new", 1)
    refused = await bob.client.put(f"/chats/{chat_id}", json={"name": "mine"})
    assert_refused(refused, 403, "only admins can update the chat", "not_an_admin")
    assert_refused(await carol.client.put(f"/chats/{chat_id}", json={"name": "mine"}), 403, *STRANGER)
    assert_invalid(await alice.client.put(f"/chats/{chat_id}", json={"name": "  "}), ("name", "required"))


async def test_the_creator_deletes(api: Api, alice: Person, bob: Person, carol: Person) -> None:
    chat_id = await api.group(alice, bob)
    await api.message(bob, chat_id)
    for other in (bob, carol):
        refused = await other.client.delete(f"/chats/{chat_id}")
        assert_refused(refused, 403, "only the creator can delete the chat")
    assert (await alice.client.delete(f"/chats/{chat_id}")).status_code == 204
    assert_refused(await alice.client.delete(f"/chats/{chat_id}"), 404, "chat not found", "chat_not_found")


# -- members ----------------------------------------------------------------------------------------------------------


async def test_members_are_listed_for_members(api: Api, alice: Person, bob: Person, carol: Person) -> None:
    chat_id = await api.group(alice, bob)
    listed = (await bob.client.get(f"/chats/{chat_id}/members")).json()
    assert [(member["user_id"], member["is_admin"]) for member in listed] == [(alice.id, True), (bob.id, False)]
    assert len((await bob.client.get(f"/chats/{chat_id}/members", params={"limit": 1, "offset": 1})).json()) == 1
    assert_refused(await carol.client.get(f"/chats/{chat_id}/members"), 403, *STRANGER)


async def test_an_admin_adds_members(api: Api, alice: Person, bob: Person, carol: Person) -> None:
    chat_id = await api.group(alice)
    path = f"/chats/{chat_id}/members"
    for _ in range(2):
        response = await alice.client.post(path, json={"member_ids": [bob.id]})
        assert response.status_code == 200
        assert response.json() == {"success": True, "message": "members added successfully"}
    refused = await bob.client.post(path, json={"member_ids": [carol.id]})
    assert_refused(refused, 403, "only admins can add members", "not_an_admin")
    assert_refused(await carol.client.post(path, json={"member_ids": [carol.id]}), 403, *STRANGER)
    assert_invalid(await alice.client.post(path, json={"member_ids": [NO_CHAT]}), ("member_ids", "exists"))
    assert_invalid(await alice.client.post(path, json={}), ("member_ids", "required"))


async def test_an_admin_removes_and_anybody_leaves(api: Api, alice: Person, bob: Person, carol: Person) -> None:
    chat_id = await api.group(alice, bob, carol)
    path = f"/chats/{chat_id}/members"
    refused = await bob.client.delete(f"{path}/{carol.id}")
    assert_refused(refused, 403, "only admins can remove members", "not_an_admin")
    response = await alice.client.delete(f"{path}/{carol.id}")
    assert response.status_code == 200
    assert response.json() == {"success": True, "message": "member removed successfully"}
    assert_refused(await alice.client.delete(f"{path}/{carol.id}"), 404, "member not found", "member_not_found")
    assert (await alice.client.delete(f"{path}/{alice.id}")).status_code == 200
    (left,) = (await bob.client.get(path)).json()
    assert (left["user_id"], left["is_admin"]) == (bob.id, True)


async def test_roles_are_given_and_taken(api: Api, alice: Person, bob: Person) -> None:
    chat_id = await api.group(alice, bob)
    path = f"/chats/{chat_id}/members"
    assert_refused(await bob.client.patch(f"{path}/{bob.id}", json={"is_admin": True}), 403, code="not_an_admin")
    assert_refused(await alice.client.patch(f"{path}/{alice.id}", json={"is_admin": False}), 409, code="last_admin")
    response = await alice.client.patch(f"{path}/{bob.id}", json={"is_admin": True})
    assert response.status_code == 200
    assert (response.json()["user_id"], response.json()["is_admin"]) == (bob.id, True)
    assert (await bob.client.patch(f"{path}/{alice.id}", json={"is_admin": False})).json()["is_admin"] is False
    assert_refused(await bob.client.patch(f"{path}/{NO_CHAT}", json={"is_admin": True}), 404, "member not found")
    assert_invalid(await bob.client.patch(f"{path}/{alice.id}", json={"is_admin": "yes"}), ("is_admin", "type"))


async def test_a_direct_chat_keeps_its_two(alice: Person, bob: Person, carol: Person) -> None:
    made = await alice.client.post("/chats", json={"is_group": False, "member_ids": [bob.id]})
    path = f"/chats/{made.json()['id']}/members"
    for response in (
        await alice.client.post(path, json={"member_ids": [carol.id]}),
        await alice.client.delete(f"{path}/{alice.id}"),
        await alice.client.patch(f"{path}/{bob.id}", json={"is_admin": True}),
    ):
        assert_refused(response, 403, "a direct chat has no other members", "direct_chat")
