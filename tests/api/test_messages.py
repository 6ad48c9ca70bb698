from __future__ import annotations

from typing import Any

import pytest

from tests.api.checks import assert_invalid, assert_refused
from tests.api.conftest import Api, Person
from tests.world import CONTENT_BYTES

MESSAGE = {"id", "chat_id", "seq", "content", "sender_id", "kind", "is_edited", "created_at", "updated_at"}
STRANGER = ("you are not a member of this chat", "not_a_member")
NOTHING = 2**62


@pytest.fixture
async def chat_id(api: Api, alice: Person, bob: Person) -> int:
    return await api.group(alice, bob)


async def test_a_message_is_sent(alice: Person, chat_id: int) -> None:
    response = await alice.client.post("/messages", json={"chat_id": chat_id, "content": "hello", "sender_id": 1})
    assert response.status_code == 201
    body = response.json()
    assert set(body) >= MESSAGE
    assert (body["seq"], body["content"], body["sender_id"], body["kind"]) == (1, "hello", alice.id, "text")
    assert body["is_edited"] is False


async def test_only_members_send(carol: Person, chat_id: int) -> None:
    for which in (chat_id, NOTHING):
        response = await carol.client.post("/messages", json={"chat_id": which, "content": "hello"})
        assert_refused(response, 403, *STRANGER)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"content": ""}, ("content", "required")),
        ({"content": " \n\t\u200b"}, ("content", "required")),
        ({"content": None}, ("content", "required")),
        ({"content": 5}, ("content", "type")),
        ({"content": "a\0b"}, ("content", "type")),
        ({"content": "x" * (CONTENT_BYTES + 1)}, ("content", "max")),
        ({"content": "\u20ac" * (CONTENT_BYTES // 2)}, ("content", "max")),
        ({"chat_id": None}, ("chat_id", "required")),
        ({"chat_id": "7"}, ("chat_id", "type")),
        ({"chat_id": 0}, ("chat_id", "min")),
        ({"chat_id": 2**63}, ("chat_id", "max")),
        ({"chat_id": 1e400}, None),
    ],
)
async def test_a_message_must_be_valid(
    alice: Person, chat_id: int, changes: dict[str, Any], expected: tuple[str, str] | None
) -> None:
    body = {"chat_id": chat_id, "content": "hello", **changes}
    if expected is None:
        response = await alice.client.post(
            "/messages", content=b'{"chat_id": 1e400, "content": "x"}', headers={"content-type": "application/json"}
        )
        assert_refused(response, 400, code="malformed")
    else:
        assert_invalid(await alice.client.post("/messages", json=body), expected)


async def test_the_same_key_is_the_same_message(alice: Person, bob: Person, chat_id: int) -> None:
    body, headers = {"chat_id": chat_id, "content": "once"}, {"idempotency-key": "key-1"}
    first = await alice.client.post("/messages", json=body, headers=headers)
    again = await alice.client.post("/messages", json=body, headers=headers)
    assert (first.status_code, again.status_code) == (201, 200)
    assert (again.json()["id"], again.json()["seq"]) == (first.json()["id"], first.json()["seq"])
    other = await alice.client.post("/messages", json={**body, "content": "other"}, headers=headers)
    assert_refused(other, 409, code="nonce_reused")
    bobs = await bob.client.post("/messages", json=body, headers=headers)
    assert bobs.status_code == 201


@pytest.mark.parametrize("key", ["", "x" * 65, "a b", "\u00e9", "a\tb"])
async def test_a_key_is_visible_ascii(alice: Person, chat_id: int, key: str) -> None:
    body = {"chat_id": chat_id, "content": "hello"}
    response = await alice.client.post("/messages", json=body, headers={b"idempotency-key": key.encode("latin-1")})
    assert_invalid(response, ("Idempotency-Key", "type"))


async def test_sending_too_often_is_refused(api: Api, alice: Person, chat_id: int) -> None:
    api.operator.exhausted.add("send")
    response = await alice.client.post("/messages", json={"chat_id": chat_id, "content": "hello"})
    assert_refused(response, 429, code="rate_limited")
    assert api.operator.spent == [("send", alice.id)]


async def test_asking_too_often_is_refused(api: Api, alice: Person, chat_id: int) -> None:
    api.operator.spent.clear()
    api.operator.exhausted.add("command")
    response = await alice.client.get(f"/messages/chat/{chat_id}")
    assert_refused(response, 429, code="rate_limited")
    assert response.headers["retry-after"] == "3"
    assert api.operator.spent == [("command", alice.id)]
    assert (await alice.client.post("/messages", json={"chat_id": chat_id, "content": "hello"})).status_code == 201


async def test_a_message_is_read_with_its_sender(
    api: Api, alice: Person, bob: Person, carol: Person, chat_id: int
) -> None:
    message = await api.message(alice, chat_id)
    response = await bob.client.get(f"/messages/{message['id']}")
    assert response.status_code == 200
    assert response.json()["sender"]["username"] == alice.username
    assert_refused(await carol.client.get(f"/messages/{message['id']}"), 403, *STRANGER)
    assert_refused(await bob.client.get(f"/messages/{NOTHING}"), 404, "message not found", "message_not_found")


async def test_history_pages_by_offset_and_by_position(
    api: Api, alice: Person, bob: Person, carol: Person, chat_id: int
) -> None:
    for n in range(5):
        await api.message(alice, chat_id, f"message {n}")
    path = f"/messages/chat/{chat_id}"

    async def seqs(**params: int) -> list[int]:
        response = await bob.client.get(path, params=params)
        assert response.status_code == 200
        return [message["seq"] for message in response.json()]

    assert await seqs() == [5, 4, 3, 2, 1]
    assert await seqs(limit=2, offset=1) == [4, 3]
    assert await seqs(before=4) == [3, 2, 1]
    assert await seqs(after=2) == [3, 4, 5]
    assert await seqs(after=1, before=4) == [2, 3]
    assert await seqs(after=5) == []
    assert_refused(await carol.client.get(path), 403, *STRANGER)


async def test_history_shows_what_happened_to_the_chat(alice: Person, bob: Person, chat_id: int) -> None:
    await alice.client.put(f"/chats/{chat_id}", json={"name": "bouldering"})
    (row,) = (await bob.client.get(f"/messages/chat/{chat_id}")).json()
    assert (row["kind"], row["content"]) == ("system", f"{alice.username} renamed the chat to bouldering")


async def test_the_sender_edits(api: Api, alice: Person, bob: Person, chat_id: int) -> None:
    message = await api.message(alice, chat_id)
    path = f"/messages/{message['id']}"
    response = await alice.client.put(path, json={"content": "better"})
    assert response.status_code == 200
    assert (response.json()["content"], response.json()["is_edited"]) == ("better", True)
    assert (await bob.client.get(path)).json()["is_edited"] is True
    refused = await bob.client.put(path, json={"content": "mine"})
    assert_refused(refused, 403, "you can only edit your own messages")
    assert_refused(await alice.client.put(f"/messages/{NOTHING}", json={"content": "x"}), 404, "message not found")
    assert_invalid(await alice.client.put(path, json={"content": " "}), ("content", "required"))


async def test_the_sender_or_an_admin_deletes(api: Api, alice: Person, bob: Person, chat_id: int) -> None:
    of_alice, of_bob = await api.message(alice, chat_id), await api.message(bob, chat_id)
    refused = await bob.client.delete(f"/messages/{of_alice['id']}")
    assert_refused(refused, 403, "you can only delete your own messages")
    for message in (of_alice, of_bob):
        response = await alice.client.delete(f"/messages/{message['id']}")
        assert (response.status_code, response.content) == (204, b"")
        assert_refused(await alice.client.get(f"/messages/{message['id']}"), 404, "message not found")
    assert (await bob.client.get(f"/messages/chat/{chat_id}")).json() == []


async def test_every_change_is_published(api: Api, alice: Person, chat_id: int) -> None:
    message = await api.message(alice, chat_id)
    await alice.client.put(f"/messages/{message['id']}", json={"content": "better"})
    await alice.client.delete(f"/messages/{message['id']}")
    told = [event["type"] for event in api.world.bus.in_chat(chat_id)]
    assert told[-2:] == ["message_updated", "message_deleted"]
