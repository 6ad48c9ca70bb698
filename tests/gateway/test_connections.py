"""The conversation on sockets, as clients of two replicas have it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import pytest

from chatapp.errors import MessageNotFound
from chatapp.gateway.heartbeat import Heartbeat
from chatapp.protocol.ids import ChatId, MessageId
from tests.gateway.conftest import StartNode
from tests.gateway.replicas import Client, Node, User

Pair = tuple[Node, Node]
NOBODYS_CHAT = 10**15


class Room:
    """A group of three, two of them connected, to different replicas."""

    def __init__(self, pair: Pair, chat_id: ChatId, users: list[User], ada: Client, bob: Client) -> None:
        self.one, self.two = pair
        self.chat_id = chat_id
        self.ada_user, self.bob_user, self.cyd_user = users
        self.ada, self.bob = ada, bob


@pytest.fixture
async def room(pair: Pair) -> AsyncIterator[Room]:
    one, two = pair
    users = [await one.somebody(name) for name in ("ada", "bob", "cyd")]
    chat_id = await one.group(*users)
    ada, bob = await one.connect(users[0]), await two.connect(users[1])
    yield Room(pair, chat_id, users, ada, bob)
    await asyncio.gather(ada.close(), bob.close())


# -- the start ----------------------------------------------------------------------------------------------------


async def test_ready_comes_first_and_says_where_everything_stands(pair: Pair) -> None:
    one, _ = pair
    user = await one.somebody()
    chat_id = await one.group(user)
    await one.send(user, chat_id, "a", "b")
    client = await one.connect(user)
    assert client.ready["user_id"] == user.id
    assert client.ready["connection_id"]
    assert client.ready["server_time"].endswith("Z")
    assert client.ready["heartbeat_s"] == 25
    assert client.ready["epoch"] == one.replica.epoch
    assert client.ready["chats"] == [{"chat_id": chat_id, "last_seq": 2, "last_read_seq": 0}]
    await client.close()


async def test_ready_comes_before_the_answers_to_what_was_sent_at_once(pair: Pair) -> None:
    one, _ = pair
    user = await one.somebody()
    chat_id = await one.group(user)
    client = await one.open(f"?token={user.token}")
    for _ in range(3):
        await client.tell("ping")
    await client.tell("message", {"chat_id": chat_id, "content": "x"})
    kinds = [(await client.next())["type"] for _ in range(6)]
    assert kinds[:4] == ["ready", "pong", "pong", "pong"]
    assert sorted(kinds[4:]) == ["ack", "message"]
    await client.close()


async def test_ready_comes_before_a_new_chat_that_is_made_meanwhile(pair: Pair) -> None:
    one, two = pair
    user, other = await one.somebody(), await one.somebody()
    first = await one.connect(user)
    for _ in range(5):
        opening = asyncio.create_task(one.open(f"?token={user.token}"))
        chat_id = await two.group(other, user)
        client = await opening
        ready = await client.expect("ready")
        if chat_id not in [chat["chat_id"] for chat in ready["chats"]]:
            await client.until("new_chat", id=chat_id)
        await first.until("new_chat", id=chat_id)
        await two.send(other, chat_id, "hello")
        await client.until("message", chat_id=chat_id, seq=1)
        await client.close()
    await first.close()


async def test_a_token_may_come_in_the_address_the_header_or_the_subprotocol(pair: Pair) -> None:
    one, _ = pair
    user = await one.somebody()
    for query, options in (
        (f"?token={user.token}", {}),
        ("", {"additional_headers": {"Authorization": f"Bearer {user.token}"}}),
        ("", {"subprotocols": ["chatapp.v1", f"bearer.{user.token}"]}),
    ):
        client = await one.open(query, **options)
        assert client.socket.subprotocol == ("chatapp.v1" if "subprotocols" in options else None)
        assert (await client.expect("ready"))["user_id"] == user.id
        await client.close()


async def test_without_a_token_there_is_no_upgrade(pair: Pair) -> None:
    status, body, headers = await pair[0].refusal()
    assert (status, body["error"]) == (401, "missing token")
    assert headers["Content-Type"] == "application/json"
    assert (await pair[0].refusal("?token="))[0] == 401


@pytest.mark.parametrize("token", ["nonsense", "v4.local.AAAA", "x" * 3000])
async def test_with_a_bad_token_there_is_no_upgrade(pair: Pair, token: str) -> None:
    status, body, _ = await pair[0].refusal(f"?token={token}")
    assert (status, body["error"]) == (401, "invalid or expired token")


async def test_an_origin_that_is_not_listed_is_refused(start_node: StartNode) -> None:
    async with start_node(limits__allowed_origins='["https://Chat.example"]') as node:
        user = await node.somebody()
        for origin in ("https://evil.example", "http://chat.example", "https://chat.example:8443", "null", "http://["):
            status, body, _ = await node.refusal(f"?token={user.token}", origin=origin)
            assert (status, body["code"]) == (403, "origin_not_allowed"), origin
        for allowed in ("https://chat.example", None):
            client = await node.open(f"?token={user.token}", origin=allowed)
            await client.expect("ready")
            await client.close()


@pytest.mark.parametrize("query", ["&follow=some", "&resume=x", "&resume=0:1", "&resume=1:-1", "&resume=1"])
async def test_an_address_that_cannot_be_read_is_refused(pair: Pair, query: str) -> None:
    user = await pair[0].somebody()
    assert (await pair[0].refusal(f"?token={user.token}{query}"))[0] == 400


async def test_a_user_has_so_many_connections_and_no_more(start_node: StartNode) -> None:
    async with start_node(limits__connections_per_user=3) as node:
        user, other = await node.somebody(), await node.somebody()
        clients = [await node.connect(user) for _ in range(3)]
        status, body, headers = await node.refusal(f"?token={user.token}")
        assert (status, body["code"]) == (429, "too_many_connections")
        assert int(headers["Retry-After"]) > 0
        await (await node.connect(other)).close()
        await clients[0].close()
        await until(lambda: len(node.replica.hub.of_user(user.id)) == 2)
        await (await node.connect(user)).close()
        for client in clients:
            await client.close()


async def test_connections_that_come_at_the_same_moment_are_counted_too(start_node: StartNode) -> None:
    async with start_node(limits__connections_per_user=3) as node:
        user = await node.somebody()
        opened = await asyncio.gather(*(node.open(f"?token={user.token}") for _ in range(12)), return_exceptions=True)
        clients = [client for client in opened if isinstance(client, Client)]
        assert len(clients) == 3
        for client in clients:
            await client.close()
        await until(lambda: not node.replica.hub.connections)


async def test_who_goes_at_once_leaves_nothing_behind(pair: Pair) -> None:
    one, _ = pair
    user = await one.somebody()
    await one.group(user)
    before = len(one.replica.hub.connections)
    for _ in range(10):
        client = await one.open(f"?token={user.token}")
        client.socket.transport.abort()
    await until(lambda: len(one.replica.hub.connections) <= before and user.id not in one.replica.hub.users)
    await until(lambda: not one.replica.gateway._tasks)


# -- sending ------------------------------------------------------------------------------------------------------


async def test_a_message_reaches_everybody_in_the_same_bytes_and_is_acked(room: Room) -> None:
    second = await room.two.connect(room.ada_user)
    ack = await room.ada.send(room.chat_id, "hi ä", nonce="n1")
    assert ack.keys() == {"type", "chat_id", "message_id", "seq", "timestamp", "nonce"}
    assert (ack["type"], ack["chat_id"], ack["seq"], ack["nonce"]) == ("message", room.chat_id, 1, "n1")
    heard = [await client.until("message", seq=1, chat_id=room.chat_id) for client in (room.bob, second)]
    if not room.ada.of_chat(room.chat_id, "message"):
        await room.ada.until("message", seq=1)
    heard.append(room.ada.of_chat(room.chat_id, "message")[0]["payload"])
    assert heard[0] == {
        "message_id": ack["message_id"],
        "content": "hi ä",
        "sender_id": room.ada_user.id,
        "username": room.ada_user.name,
        "chat_id": room.chat_id,
        "timestamp": ack["timestamp"],
        "seq": 1,
        "kind": "text",
    }
    assert heard[1] == heard[2] == heard[0]
    await second.close()


async def test_messages_of_one_sender_keep_their_order(room: Room) -> None:
    for number in range(100):
        await room.ada.tell("message", {"chat_id": room.chat_id, "content": str(number)})
    while len(room.bob.of_chat(room.chat_id)) < 100:
        await room.bob.next()
    assert [event["payload"]["content"] for event in room.bob.of_chat(room.chat_id)] == [str(n) for n in range(100)]
    assert room.bob.positions(room.chat_id) == list(range(1, 101))


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        ({"content": "x"}, "validation_failed"),
        ({"content": ""}, "validation_failed"),
        ({"content": " \n\u200b"}, "validation_failed"),
        ({"content": "a\0b"}, "validation_failed"),
        ({"content": "x" * 16385}, "validation_failed"),
        ({"content": "ä" * 8193}, "validation_failed"),
        ({"chat_id": NOBODYS_CHAT, "content": "x"}, "not_a_member"),
        ({"chat_id": 0, "content": "x"}, "validation_failed"),
        ({"chat_id": 2**63, "content": "x"}, "validation_failed"),
        ({"content": "x", "nonce": "a\0b"}, "validation_failed"),
    ],
)
async def test_a_message_that_cannot_be_is_refused(room: Room, payload: dict[str, Any], code: str) -> None:
    chat = {} if payload == {"content": "x"} else {"chat_id": room.chat_id}
    assert await room.ada.refused("message", chat | payload) == code
    assert (await room.ada.send(room.chat_id, "fine"))["seq"] == 1


async def test_who_is_not_a_member_can_do_nothing(room: Room) -> None:
    stranger = await room.two.connect(await room.two.somebody())
    message_id = (await room.ada.send(room.chat_id, "x"))["message_id"]
    chat = {"chat_id": room.chat_id}
    assert await stranger.refused("message", chat | {"content": "x"}) == "not_a_member"
    assert await stranger.refused("join_chat", chat) == "not_a_member"
    assert await stranger.refused("join_chat", chat | {"after_seq": 0}) == "not_a_member"
    assert await stranger.refused("typing", chat) == "not_a_member"
    assert await stranger.refused("read", chat | {"seq": 1}) == "not_a_member"
    assert await stranger.refused("edit_message", {"message_id": message_id, "content": "y"}) == "not_your_message"
    assert await stranger.refused("delete_message", {"message_id": message_id}) == "not_your_message"
    await stranger.close()


async def test_the_same_nonce_is_one_message(room: Room) -> None:
    first = await room.ada.send(room.chat_id, "x", nonce="n")
    again = await room.ada.send(room.chat_id, "x", nonce="n")
    assert (again["message_id"], again["seq"], again["timestamp"]) == (
        first["message_id"],
        first["seq"],
        first["timestamp"],
    )
    assert (await room.ada.send(room.chat_id, "next"))["seq"] == 2
    await room.bob.until("message", seq=2)
    assert room.bob.positions(room.chat_id) == [1, 2]


async def test_a_nonce_is_not_for_other_content_or_another_chat(room: Room) -> None:
    other_chat = await room.one.group(room.ada_user)
    await room.ada.send(room.chat_id, "x", nonce="n")
    assert await room.ada.refused("message", {"chat_id": room.chat_id, "content": "y", "nonce": "n"}) == "nonce_reused"
    assert await room.ada.refused("message", {"chat_id": other_chat, "content": "x", "nonce": "n"}) == "nonce_reused"
    assert (await room.bob.send(room.chat_id, "y", nonce="n"))["seq"] == 2


async def test_a_nonce_at_two_replicas_at_the_same_time_is_one_message(room: Room) -> None:
    second = await room.two.connect(room.ada_user)
    for number in range(1, 11):
        one, two = await asyncio.gather(
            room.ada.send(room.chat_id, "x", nonce=f"n{number}"), second.send(room.chat_id, "x", nonce=f"n{number}")
        )
        assert one == two
        assert one["seq"] == number
    await room.bob.until("message", seq=10)
    assert room.bob.positions(room.chat_id) == list(range(1, 11))
    await second.close()


async def test_a_nonce_in_two_chats_at_two_replicas_at_the_same_time_is_one_message(room: Room) -> None:
    other_chat = await room.one.group(room.ada_user)
    second = await room.two.connect(room.ada_user)
    for number in range(10):
        answers = await asyncio.gather(
            room.ada.ask("message", {"chat_id": room.chat_id, "content": "x", "nonce": f"n{number}"}),
            second.ask("message", {"chat_id": other_chat, "content": "x", "nonce": f"n{number}"}),
        )
        assert sorted(answer["type"] for answer in answers) == ["ack", "error"]
        assert {a["payload"]["code"] for a in answers if a["type"] == "error"} == {"nonce_reused"}
    await second.close()


async def test_edits_and_deletions_take_the_next_positions(room: Room) -> None:
    sent = await room.ada.send(room.chat_id, "x")
    edited = await room.ada.done("edit_message", {"message_id": sent["message_id"], "content": "y"})
    assert (edited["type"], edited["seq"], edited["message_id"]) == ("edit_message", 2, sent["message_id"])
    heard = await room.bob.until("message_updated")
    assert heard == {
        "message_id": sent["message_id"],
        "chat_id": room.chat_id,
        "content": "y",
        "seq": 1,
        "changed_seq": 2,
        "updated_at": edited["timestamp"],
    }
    deleted = await room.ada.done("delete_message", {"message_id": sent["message_id"]})
    assert deleted["seq"] == 3
    assert await room.bob.until("message_deleted") == {
        "message_id": sent["message_id"],
        "chat_id": room.chat_id,
        "seq": 1,
        "changed_seq": 3,
    }
    for kind, payload in (("edit_message", {"content": "z"}), ("delete_message", {})):
        assert await room.ada.refused(kind, {"message_id": sent["message_id"], **payload}) == "message_not_found"


async def test_only_ones_own_messages_can_be_edited_and_an_admin_may_delete(room: Room) -> None:
    sent = await room.bob.send(room.chat_id, "x")
    edit = {"message_id": sent["message_id"], "content": "y"}
    assert await room.ada.refused("edit_message", edit) == "not_your_message"
    assert await room.bob.refused("edit_message", {**edit, "content": " "}) == "validation_failed"
    mine = await room.ada.send(room.chat_id, "x")
    assert await room.bob.refused("delete_message", {"message_id": mine["message_id"]}) == "not_your_message"
    assert (await room.ada.done("delete_message", {"message_id": sent["message_id"]}))["seq"] == 3
    assert (await room.bob.until("message_deleted"))["seq"] == 1


async def test_what_is_no_command_is_an_error_and_the_connection_stays(room: Room) -> None:
    await room.ada.socket.send("garbage")
    assert (await room.ada.expect("error"))["code"] == "malformed"
    assert await room.ada.refused("nope") == "unknown_type"
    await room.ada.socket.send('{"type": []}')
    assert (await room.ada.expect("error"))["code"] == "unknown_type"
    await room.ada.socket.send("[" * 30_000)
    assert (await room.ada.expect("error"))["code"] in ("malformed", "validation_failed")
    await room.ada.socket.send('{"type":"ping","id":1,"id":2}')
    assert (await room.ada.expect("error"))["code"] == "malformed"
    assert (await room.ada.ask("ping"))["payload"] == {}


async def test_nothing_but_errors_closes_the_connection(pair: Pair) -> None:
    user = await pair[0].somebody()
    client = await pair[0].connect(user)
    for _ in range(3):
        await client.socket.send("garbage")
    assert (await client.closed())[0] == 4400
    client = await pair[0].connect(user)
    for _ in range(20):
        await client.tell("nope")
    assert (await client.closed())[0] == 4429


async def test_a_frame_that_is_too_large_closes_the_connection(room: Room) -> None:
    await room.ada.socket.send("x" * 70_000)
    assert (await room.ada.closed())[0] == 1009
    assert (await room.bob.send(room.chat_id, "still here"))["seq"] == 1


async def test_binary_frames_close_the_connection(room: Room) -> None:
    await room.ada.socket.send(b"binary")
    assert (await room.ada.closed())[0] == 1003


# -- following ----------------------------------------------------------------------------------------------------


async def test_a_connection_may_follow_nothing_until_it_joins(room: Room) -> None:
    cyd = await room.two.connect(room.cyd_user, "&follow=none")
    assert [chat["chat_id"] for chat in cyd.ready["chats"]] == [room.chat_id]
    await room.ada.send(room.chat_id, "unheard")
    await room.bob.until("message", seq=1)
    joined = await cyd.done("join_chat", {"chat_id": room.chat_id})
    assert joined == {"type": "join_chat", "chat_id": room.chat_id, "seq": 1}
    await room.ada.send(room.chat_id, "heard")
    assert (await cyd.until("message"))["seq"] == 2
    assert cyd.positions(room.chat_id) == [2]
    await cyd.close()


async def test_leaving_ends_the_hearing_and_joining_begins_it_again(room: Room) -> None:
    assert await room.bob.done("leave_chat", {"chat_id": room.chat_id}) == {
        "type": "leave_chat",
        "chat_id": room.chat_id,
    }
    await room.ada.send(room.chat_id, "one")
    await until(lambda: position(room.two, room.chat_id) == 1)
    # The replica looks for memberships that it has missed: one that was left is not among them.
    looks = room.two.replica.repair.stats.compares
    await until(lambda: room.two.replica.repair.stats.compares >= looks + 3)
    assert (await room.bob.done("join_chat", {"chat_id": room.chat_id, "after_seq": 1}))["seq"] == 1
    await room.ada.send(room.chat_id, "two")
    await room.bob.until("message", seq=2)
    assert room.bob.positions(room.chat_id) == [2]


async def test_leaving_a_chat_that_is_not_followed_is_no_error(room: Room) -> None:
    assert (await room.bob.done("leave_chat", {"chat_id": NOBODYS_CHAT}))["chat_id"] == NOBODYS_CHAT


async def test_comings_and_goings_are_told_to_the_others(room: Room) -> None:
    cyd = await room.two.connect(room.cyd_user, "&follow=none")
    await cyd.done("join_chat", {"chat_id": room.chat_id})
    sentence = f"{room.cyd_user.name} joined the chat"
    assert await room.ada.until("system") == {"chat_id": room.chat_id, "message": sentence}
    await cyd.done("leave_chat", {"chat_id": room.chat_id})
    assert (await room.ada.until("system"))["message"] == f"{room.cyd_user.name} left the chat"
    assert not cyd.of_chat(room.chat_id, "system")
    await cyd.close()


async def test_a_join_replays_what_was_missed_then_acks_then_is_live(room: Room) -> None:
    sent = [await room.ada.send(room.chat_id, f"m{number}") for number in range(1, 6)]
    await room.ada.done("edit_message", {"message_id": sent[0]["message_id"], "content": "edited, seen before"})
    await room.ada.done("edit_message", {"message_id": sent[3]["message_id"], "content": "edited, new"})
    await room.ada.done("delete_message", {"message_id": sent[1]["message_id"]})
    await room.ada.done("delete_message", {"message_id": sent[4]["message_id"]})
    cyd = await room.two.connect(room.cyd_user, "&follow=none")
    ack = await cyd.done("join_chat", {"chat_id": room.chat_id, "after_seq": 2})
    assert ack["seq"] == 9
    told = [(e["type"], e["payload"]["seq"], e["payload"].get("content")) for e in cyd.of_chat(room.chat_id)]
    assert told == [
        ("message", 3, "m3"),
        ("message", 4, "edited, new"),
        ("message_updated", 1, "edited, seen before"),
        ("message_deleted", 2, None),
        ("message_deleted", 5, None),
    ]
    await room.ada.send(room.chat_id, "live")
    await cyd.until("message", seq=10)
    assert cyd.positions(room.chat_id) == [3, 4, 6, 8, 9, 10]
    await cyd.close()


async def test_a_replay_while_others_write_tells_everything_once_ascending(room: Room) -> None:
    await room.one.send(room.ada_user, room.chat_id, *(f"before {number}" for number in range(60)))
    stop = asyncio.Event()

    async def write(client: Client) -> None:
        written = 0
        while not stop.is_set() and written < 400:
            sent = await client.send(room.chat_id, f"m{written}")
            if written % 5 == 0:
                await client.done("edit_message", {"message_id": sent["message_id"], "content": "edited"})
            if written % 7 == 0:
                await client.done("delete_message", {"message_id": sent["message_id"]})
            written += 1

    writers = [asyncio.create_task(write(client)) for client in (room.ada, room.bob)]
    try:
        for turn in range(6):
            cyd = await (room.one, room.two)[turn % 2].connect(room.cyd_user, "&follow=none")
            after = turn * 10
            ack = await cyd.done("join_chat", {"chat_id": room.chat_id, "after_seq": after})
            for _ in range(20):
                await cyd.next()
            positions = cyd.positions(room.chat_id)
            assert positions == sorted(set(positions))
            assert positions[0] == after + 1
            # What a replay skips are changes that later ones replaced; live, nothing is skipped.
            live = [p for p in positions if p > ack["seq"]]
            assert live == list(range(ack["seq"] + 1, ack["seq"] + 1 + len(live)))
            await cyd.close()
    finally:
        stop.set()
        await asyncio.gather(*writers)


async def test_a_client_that_joins_again_and_again_has_what_the_database_has(room: Room) -> None:
    await room.one.send(room.ada_user, room.chat_id, "first")

    async def write(client: Client, name: str) -> None:
        for number in range(60):
            await client.send(room.chat_id, f"{name} {number}")

    writers = asyncio.gather(write(room.ada, "ada"), write(room.bob, "bob"))
    state: dict[int, str] = {}
    seen = 0
    turn = 0
    while seen < 121:
        node = (room.one, room.two)[turn % 2]
        turn += 1
        cyd = await node.connect(room.cyd_user, f"&resume={room.chat_id}:{seen}")
        ack = await cyd.until("ack", type="resume")
        assert ack["chat_id"] == room.chat_id
        for _ in range(3):
            if ack["seq"] < 121 - 10:
                await cyd.next()
        for event in cyd.of_chat(room.chat_id, "message"):
            payload = event["payload"]
            assert payload["seq"] == seen + 1
            seen = payload["seq"]
            state[seen] = payload["content"]
        await cyd.close()
    await writers
    rows = await room.one.replica.messages.history(
        room.ada_user.principal, room.chat_id, limit=200, offset=0, before=None, after=None
    )
    assert state == {row.seq: row.content for row in rows}


async def test_a_join_of_what_is_followed_already_repeats_nothing(room: Room) -> None:
    await room.ada.send(room.chat_id, "x")
    await room.bob.until("message", seq=1)
    for after in (0, 1):
        assert (await room.bob.done("join_chat", {"chat_id": room.chat_id, "after_seq": after}))["seq"] == 1
    assert (await room.bob.done("join_chat", {"chat_id": room.chat_id}))["seq"] == 1
    assert room.bob.positions(room.chat_id) == [1]


async def test_joins_that_overlap_repeat_nothing(room: Room) -> None:
    await room.one.send(room.ada_user, room.chat_id, *(f"{number}" for number in range(100)))
    newcomer = await room.two.somebody()
    client = await room.two.connect(newcomer)
    await room.one.replica.members.add(room.ada_user.principal, room.chat_id, [newcomer.id])
    await client.until("new_chat", id=room.chat_id)
    # It follows the new chat by itself; the client asks for everything at the same time.
    ack = await client.done("join_chat", {"chat_id": room.chat_id, "after_seq": 0})
    await room.ada.send(room.chat_id, "live")
    await client.until("message", seq=102)
    positions = client.positions(room.chat_id)
    assert ack["seq"] >= 101
    assert sorted(positions) == list(range(1, 103))
    await client.close()


async def test_too_far_behind_nothing_is_replayed_and_nothing_followed(room: Room) -> None:
    await asyncio.gather(
        *(room.one.replica.messages.send(room.ada_user.principal, room.chat_id, str(n)) for n in range(302))
    )
    cyd = await room.one.connect(room.cyd_user, "&follow=none")
    assert await cyd.refused("join_chat", {"chat_id": room.chat_id, "after_seq": 1}) == "resync_required"
    await room.ada.send(room.chat_id, "unheard")
    await room.ada.until("message", seq=303)
    assert (await cyd.ask("ping"))["type"] == "pong"
    assert cyd.of_chat(room.chat_id) == []
    assert (await cyd.done("join_chat", {"chat_id": room.chat_id, "after_seq": 300}))["seq"] == 303
    assert cyd.positions(room.chat_id) == [301, 302, 303]
    await cyd.close()


async def test_a_position_that_was_never_reached_asks_for_a_resync(room: Room) -> None:
    cyd = await room.one.connect(room.cyd_user, "&follow=none")
    assert await cyd.refused("join_chat", {"chat_id": room.chat_id, "after_seq": 5}) == "resync_required"
    assert await cyd.refused("join_chat", {"chat_id": room.chat_id, "after_seq": 2**63 - 1}) == "resync_required"
    await cyd.close()


async def test_a_resume_in_the_address_replays_every_chat_from_its_position(room: Room) -> None:
    other_chat = await room.one.group(room.ada_user, room.cyd_user)
    third_chat = await room.one.group(room.ada_user, room.cyd_user)
    for chat_id in (room.chat_id, other_chat, third_chat):
        await room.one.send(room.ada_user, chat_id, "one", "two", "three")
    cyd = await room.two.connect(room.cyd_user, f"&resume={room.chat_id}:1,{other_chat}:3,{NOBODYS_CHAT}:1")
    for _ in range(2):
        assert (await cyd.until("ack", type="resume"))["seq"] == 3
    assert (await cyd.until("error"))["code"] == "not_a_member"
    assert cyd.positions(room.chat_id) == [2, 3]
    assert cyd.positions(other_chat) == []
    for chat_id in (room.chat_id, other_chat, third_chat):
        await room.one.send(room.ada_user, chat_id, "four")
    for chat_id in (room.chat_id, other_chat, third_chat):
        while not any(e["payload"]["seq"] == 4 for e in cyd.of_chat(chat_id, "message")):
            await cyd.next()
    assert (cyd.positions(room.chat_id), cyd.positions(other_chat), cyd.positions(third_chat)) == (
        [2, 3, 4],
        [4],
        [4],
    )
    await cyd.close()


async def test_a_connection_follows_so_many_chats_and_no_more(start_node: StartNode) -> None:
    async with start_node(limits__rooms_per_connection=2) as node:
        user = await node.somebody()
        chats = [await node.group(user) for _ in range(3)]
        client = await node.connect(user, "&follow=none")
        for chat_id in chats[:2]:
            await client.done("join_chat", {"chat_id": chat_id})
        assert await client.refused("join_chat", {"chat_id": chats[2]}) == "too_many_rooms"
        await client.done("leave_chat", {"chat_id": chats[0]})
        await client.done("join_chat", {"chat_id": chats[2]})
        await client.close()


# -- signals ------------------------------------------------------------------------------------------------------


async def test_typing_is_told_to_the_others_but_not_to_oneself(room: Room) -> None:
    also_ada = await room.two.connect(room.ada_user)
    await room.ada.tell("typing", {"chat_id": room.chat_id})
    assert await room.bob.expect("typing") == {"chat_id": room.chat_id, "user_id": room.ada_user.id}
    await room.ada.tell("typing", {"chat_id": room.chat_id})
    await room.ada.send(room.chat_id, "x")
    await room.bob.expect("message")
    await also_ada.expect("message")
    assert not room.ada.of_chat(room.chat_id, "typing")
    await also_ada.close()


async def test_a_read_mark_moves_forward_only(room: Room) -> None:
    await room.one.send(room.ada_user, room.chat_id, "a", "b", "c")
    assert await room.bob.done("read", {"chat_id": room.chat_id, "seq": 2}) == {
        "type": "read",
        "chat_id": room.chat_id,
        "seq": 2,
    }
    assert await room.ada.until("read") == {"chat_id": room.chat_id, "user_id": room.bob_user.id, "seq": 2}
    assert (await room.bob.done("read", {"chat_id": room.chat_id, "seq": 1}))["seq"] == 2
    assert (await room.bob.done("read", {"chat_id": room.chat_id, "seq": 10**12}))["seq"] == 3
    assert (await room.ada.until("read"))["seq"] == 3
    assert [e["payload"]["seq"] for e in room.ada.of_chat(room.chat_id, "read")] == [2, 3]
    again = await room.two.connect(room.bob_user)
    assert again.ready["chats"] == [{"chat_id": room.chat_id, "last_seq": 3, "last_read_seq": 3}]
    await again.close()


# -- memberships --------------------------------------------------------------------------------------------------


async def test_who_becomes_a_member_hears_so_on_every_connection_and_follows(room: Room) -> None:
    newcomer = await room.one.somebody("dan")
    everywhere = [await room.one.connect(newcomer), await room.two.connect(newcomer)]
    listening = await room.two.connect(newcomer, "&follow=none")
    await room.one.send(room.ada_user, room.chat_id, "before")
    await room.one.replica.members.add(room.ada_user.principal, room.chat_id, [newcomer.id])
    for client in (*everywhere, listening):
        chat = await client.until("new_chat")
        assert chat["id"] == room.chat_id
        assert chat.keys() == {"id", "name", "is_group", "creator_id", "created_at", "updated_at", "last_seq"}
    added = await room.bob.until("member_added")
    assert added == {"chat_id": room.chat_id, "user_id": newcomer.id, "username": newcomer.name, "seq": 2}
    assert room.bob.of_chat(room.chat_id, "system")[-1]["payload"]["seq"] == 2
    for client in everywhere:
        await until_following(room, client, newcomer)
    await room.ada.send(room.chat_id, "after")
    for client in everywhere:
        await client.until("message", seq=3)
        assert client.positions(room.chat_id) == [2, 3]
    assert (await listening.ask("ping"))["type"] == "pong"
    assert listening.of_chat(room.chat_id) == []
    for client in (*everywhere, listening):
        await client.close()


async def test_who_is_removed_hears_of_it_and_nothing_after(room: Room) -> None:
    other_chat = await room.one.group(room.ada_user, room.bob_user)
    await room.bob.until("new_chat", id=other_chat)
    await room.one.replica.members.remove(room.ada_user.principal, room.chat_id, room.bob_user.id)
    removed = await room.bob.until("member_removed")
    assert removed == {
        "chat_id": room.chat_id,
        "user_id": room.bob_user.id,
        "username": room.bob_user.name,
        "seq": 1,
    }
    await room.one.send(room.ada_user, room.chat_id, "secret")
    await room.one.send(room.ada_user, other_chat, "not secret")
    await room.bob.until("message", chat_id=other_chat)
    assert room.bob.positions(room.chat_id) == [1]
    assert await room.bob.refused("message", {"chat_id": room.chat_id, "content": "x"}) == "not_a_member"
    assert await room.bob.refused("join_chat", {"chat_id": room.chat_id, "after_seq": 0}) == "not_a_member"
    assert await room.bob.refused("typing", {"chat_id": room.chat_id}) == "not_a_member"


async def test_who_is_added_again_hears_from_there_on(room: Room) -> None:
    members = room.one.replica.members
    await members.remove(room.ada_user.principal, room.chat_id, room.bob_user.id)
    await room.bob.until("member_removed")
    await room.one.send(room.ada_user, room.chat_id, "secret")
    await members.add(room.ada_user.principal, room.chat_id, [room.bob_user.id])
    await room.bob.until("new_chat", id=room.chat_id)
    await until_following(room, room.bob, room.bob_user)
    await room.ada.send(room.chat_id, "welcome back")
    await room.bob.until("message", seq=4)
    assert room.bob.positions(room.chat_id) == [1, 3, 4]


async def test_what_changes_a_chat_is_told(room: Room) -> None:
    await room.one.replica.chats.rename(room.ada_user.principal, room.chat_id, "new name")
    renamed = await room.bob.until("chat_updated")
    assert (renamed["name"], renamed["seq"]) == ("new name", 1)
    await room.one.replica.members.set_admin(room.ada_user.principal, room.chat_id, room.cyd_user.id, is_admin=True)
    promoted = await room.bob.until("chat_updated")
    assert (promoted["user_id"], promoted["is_admin"], promoted["seq"]) == (room.cyd_user.id, True, 2)


async def test_a_chats_end_is_told(room: Room) -> None:
    await room.one.replica.chats.delete(room.ada_user.principal, room.chat_id)
    for client in (room.ada, room.bob):
        assert await client.until("chat_deleted") == {"chat_id": room.chat_id}
    assert await room.bob.refused("message", {"chat_id": room.chat_id, "content": "x"}) == "not_a_member"
    assert await room.bob.refused("join_chat", {"chat_id": room.chat_id}) == "not_a_member"


async def test_what_is_done_over_rest_reaches_the_sockets(room: Room) -> None:
    sent = await room.one.replica.messages.send(room.cyd_user.principal, room.chat_id, "x")
    await room.bob.until("message", message_id=sent.message.id)
    await room.one.replica.messages.edit(room.cyd_user.principal, sent.message.id, "y")
    await room.bob.until("message_updated", content="y")
    await room.one.replica.messages.delete(room.cyd_user.principal, sent.message.id)
    await room.bob.until("message_deleted", message_id=sent.message.id)
    with pytest.raises(MessageNotFound):
        await room.one.replica.messages.delete(room.cyd_user.principal, MessageId(sent.message.id))


# -- the end ------------------------------------------------------------------------------------------------------


async def test_a_revoked_token_closes_its_sockets_at_every_replica_within_a_second(room: Room) -> None:
    elsewhere = await room.two.connect(room.ada_user)
    again = await room.one.replica.accounts.login(room.ada_user.name, "correct horse")
    other_token = await room.two.open(f"?token={again.token}")
    await other_token.expect("ready")
    loop = asyncio.get_running_loop()
    started = loop.time()
    await room.one.replica.accounts.logout(room.ada_user.principal)
    assert (await room.ada.closed())[0] == 4401
    assert (await elsewhere.closed())[0] == 4401
    assert loop.time() - started < 1.0
    status, body, _ = await room.two.refusal(f"?token={room.ada_user.token}")
    assert (status, body["error"]) == (401, "invalid or expired token")
    assert (await other_token.ask("ping"))["type"] == "pong"
    await other_token.close()


async def test_a_token_that_expires_closes_its_sockets(pair: Pair, start_node: StartNode) -> None:
    async with start_node(auth__token_expiration=0.9 / 3600) as node:
        user = await node.somebody()
        client = await pair[1].connect(user)
        loop = asyncio.get_running_loop()
        started = loop.time()
        assert (await client.closed())[0] == 4401
        assert loop.time() - started < 2.0
        assert (await pair[1].refusal(f"?token={user.token}"))[0] == 401


async def test_who_is_silent_is_pinged_and_then_closed(pair: Pair, protocol: str) -> None:
    one, _ = pair
    user = await one.somebody()
    quick, deaf = await one.connect(user), await one.connect(user)
    heartbeat = Heartbeat(one.replica.hub, one.replica.gateway, asyncio.get_running_loop().time, 0.3)
    if protocol == "asgi":  # pongs are not seen there, so silence means nothing
        for _ in range(10):
            heartbeat.tick(asyncio.get_running_loop().time() + 1000)
        assert not any(connection.closing for connection in one.replica.hub.of_user(user.id))
        await quick.close()
        await deaf.close()
        return
    deaf.socket.transport.pause_reading()
    running = asyncio.create_task(heartbeat.run())
    try:
        connections = one.replica.hub.of_user(user.id)
        by_id = {connection.connection_id: connection for connection in connections}
        await until(lambda: by_id[deaf.ready["connection_id"]].closing)
        assert not by_id[quick.ready["connection_id"]].closing
        deaf.socket.transport.resume_reading()
        assert (await deaf.closed())[0] == 4408
        assert (await quick.ask("ping"))["type"] == "pong"
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    await quick.close()


async def test_a_replica_that_drains_sends_everybody_elsewhere(start_node: StartNode, pair: Pair) -> None:
    async with start_node(delivery__drain_s=1) as node:
        user = await node.somebody()
        chat_id = await node.group(user)
        clients = [await node.connect(user) for _ in range(3)]
        draining = asyncio.create_task(node.replica.drain())
        for client in clients:
            going = await client.until("going_away")
            assert 0 <= going["reconnect_after_ms"] <= 1000
            assert (await client.closed())[0] == 1012
        await draining
        status, body, headers = await node.refusal(f"?token={user.token}")
        assert (status, body["code"], headers["Retry-After"]) == (503, "draining", "1")
        elsewhere = await pair[0].connect(user)
        assert (await elsewhere.send(chat_id, "x"))["seq"] == 1
        await elsewhere.close()


async def test_who_reads_too_slowly_is_closed_and_nobody_else_notices(start_node: StartNode) -> None:
    async with start_node(limits__backlog_bytes=65536) as node:
        ada, bob, cyd = [await node.somebody(name) for name in ("ada", "bob", "cyd")]
        chat_id = await node.group(ada, bob, cyd)
        sender, reader, deaf = [await node.connect(user) for user in (ada, bob, cyd)]
        deaf.socket.transport.pause_reading()
        (connection,) = node.replica.hub.of_user(cyd.id)
        content = "x" * 16000
        slowest = 0.0
        loop = asyncio.get_running_loop()
        sent = 0
        while not connection.closing and sent < 3000:
            sent += 1
            started = loop.time()
            await sender.send(chat_id, content)
            await reader.until("message", seq=sent)
            slowest = max(slowest, loop.time() - started)
            assert connection.transport.backlog_bytes < 65536 + 20_000
        assert connection.closing
        assert slowest < 1.0
        assert reader.positions(chat_id) == list(range(1, sent + 1))
        deaf.socket.transport.resume_reading()
        assert (await deaf.closed())[0] == 4409
        assert deaf.positions(chat_id) == list(range(1, len(deaf.positions(chat_id)) + 1))
        for client in (sender, reader):
            await client.close()


async def test_a_client_that_sends_faster_than_it_is_answered_is_held_back(start_node: StartNode) -> None:
    async with start_node(limits__commands_in_flight=10) as node:
        user = await node.somebody()
        chat_id = await node.group(user)
        client = await node.connect(user)
        for number in range(300):
            await client.tell("message", {"chat_id": chat_id, "content": str(number)}, id=number)
        answered: list[int] = []
        while len(answered) < 300:
            event = await client.next()
            if event["type"] == "ack":
                answered.append(event["id"])
        assert answered == list(range(300))
        await client.close()


async def test_no_connection_is_left_when_all_have_gone(pair: Pair) -> None:
    for node in pair:
        await until(partial(nobody_is_at, node))
        await node.replica.hub.sweep()
        assert node.replica.hub.rooms == {}


# -- helpers ------------------------------------------------------------------------------------------------------


def nobody_is_at(node: Node) -> bool:
    return not node.replica.hub.connections and not node.replica.hub.users


def position(node: Node, chat_id: ChatId) -> int | None:
    live = node.replica.hub.rooms.get(chat_id)
    return None if live is None else live.room.position


async def until_following(room: Room, client: Client, user: User) -> None:
    def follows() -> bool:
        return any(
            connection.connection_id == client.ready["connection_id"]
            and (live := node.replica.hub.rooms.get(room.chat_id)) is not None
            and connection in live.audience.live
            for node in (room.one, room.two)
            for connection in node.replica.hub.of_user(user.id)
        )

    await until(follows)


async def until(condition: Callable[[], bool], within_s: float = 8.0) -> None:
    """Wait for what has no event of its own."""
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.01)
