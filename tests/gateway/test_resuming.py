"""Who comes back goes on in all chats where they were, for the price of one question where nothing was missed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from chatapp.errors import Unavailable
from chatapp.protocol.ids import ChatId
from chatapp.storage import members as member_statements
from tests.gateway.conftest import StartNode
from tests.gateway.replicas import Client, Node, User

Pair = tuple[Node, Node]
Reading = Callable[..., Any]
CHATS = 30
NOBODYS_CHAT = 10**15


class Chats:
    """Many chats of two, each with one message."""

    def __init__(self, ada: User, bob: User, ids: list[ChatId]) -> None:
        self.ada, self.bob, self.ids = ada, bob, ids

    def after(self, seq: int) -> dict[str, int]:
        """This position in all of them."""
        return {str(chat_id): seq for chat_id in self.ids}


@pytest.fixture
async def chats(pair: Pair) -> Chats:
    one, _ = pair
    ada, bob = await one.somebody("ada"), await one.somebody("bob")
    ids = [await one.group(ada, bob) for _ in range(CHATS)]
    for chat_id in ids:
        await one.send(ada, chat_id, "first")
    return Chats(ada, bob, ids)


@pytest.fixture
def questions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Of how many chats each reading of memberships was."""
    asked: list[int] = []
    membership: Reading = member_statements.membership

    async def counting(database: object, user_id: object, chat_ids: Sequence[ChatId]) -> object:
        asked.append(len(chat_ids))
        return await membership(database, user_id, chat_ids)

    monkeypatch.setattr(member_statements, "membership", counting)
    return asked


async def acked(client: Client, count: int) -> dict[int, int]:
    """So many acks of a resume: chat to position."""
    acks = [await client.until("ack", type="resume") for _ in range(count)]
    return {ack["chat_id"]: ack["seq"] for ack in acks}


async def hears_all(client: Client, sender: Node, chats: Chats, position: int) -> None:
    """What is sent now is heard in every chat, at this position and once."""
    for chat_id in chats.ids:
        await sender.send(chats.ada, chat_id, "now")
    for chat_id in chats.ids:
        while position not in client.positions(chat_id):
            await client.next()
    assert (await client.ask("ping"))["type"] == "pong"
    for chat_id in chats.ids:
        assert client.positions(chat_id).count(position) == 1


async def test_who_missed_nothing_and_says_so_in_the_address_is_not_asked_about_at_all(
    pair: Pair, chats: Chats, questions: list[int]
) -> None:
    one, two = pair
    resume = ",".join(f"{chat_id}:1" for chat_id in chats.ids)
    for follow in ("none", "all"):
        client = await two.connect(chats.bob, f"&follow={follow}&resume={resume}")
        assert await acked(client, CHATS) == dict.fromkeys(chats.ids, 1)
        assert questions == []
        if follow == "all":
            await hears_all(client, one, chats, 2)
        await client.close()


async def test_who_missed_nothing_and_says_so_in_a_command_is_asked_about_once(
    pair: Pair, chats: Chats, questions: list[int]
) -> None:
    one, two = pair
    client = await two.connect(chats.bob, "&follow=none")
    await client.tell("resume", {"positions": chats.after(1)})
    assert await acked(client, CHATS) == dict.fromkeys(chats.ids, 1)
    assert questions == [CHATS, CHATS]  # before their rooms are made, and when they are open
    other = await two.connect(chats.bob, "&follow=none")
    await other.tell("resume", {"positions": chats.after(1)})
    assert await acked(other, CHATS) == dict.fromkeys(chats.ids, 1)
    assert questions == [CHATS, CHATS, CHATS]
    await hears_all(client, one, chats, 2)
    await hears_all(other, one, chats, 3)
    for connected in (client, other):
        await connected.close()


async def test_each_chat_of_a_resume_has_its_own_answer(pair: Pair, chats: Chats) -> None:
    one, two = pair
    behind, ahead, followed, left, *others = chats.ids
    await one.send(chats.ada, behind, "second", "third")
    client = await two.connect(chats.bob, "&follow=none")
    await client.done("join_chat", {"chat_id": followed, "after_seq": 1})
    await one.replica.members.remove(chats.ada.principal, left, chats.bob.id)
    positions = {**chats.after(1), str(ahead): 9, str(NOBODYS_CHAT): 1}
    await client.tell("resume", {"positions": positions}, id="r")
    answers: dict[int, object] = {}
    while len(answers) < len(positions):
        event = await client.next()
        if event["type"] in ("ack", "error"):
            assert event["id"] == "r"
            answers[event["payload"]["chat_id"]] = event["payload"].get("code", event["payload"].get("seq"))
    assert answers == dict.fromkeys([followed, *others], 1) | {
        behind: 3,
        ahead: "resync_required",
        left: "not_a_member",
        NOBODYS_CHAT: "not_a_member",
    }
    assert client.positions(behind) == [2, 3]
    assert client.positions(left) == []
    for chat_id in (behind, followed, left, others[0]):
        await one.send(chats.ada, chat_id, "now")
    await client.until("message", chat_id=others[0], seq=2)
    while client.positions(behind) != [2, 3, 4] or client.positions(followed) != [2]:
        await client.next()
    assert client.positions(left) == []
    await client.close()


async def test_a_resume_follows_as_many_chats_as_a_connection_may(start_node: StartNode) -> None:
    async with start_node(limits__rooms_per_connection=3) as node:
        ada, bob = await node.somebody(), await node.somebody()
        ids = [await node.group(ada, bob) for _ in range(5)]
        client = await node.connect(bob, "&follow=none&resume=" + ",".join(f"{chat_id}:0" for chat_id in ids))
        assert len(await acked(client, 3)) == 3
        for _ in range(2):
            assert (await client.until("error"))["code"] == "too_many_rooms"
        await client.close()


@pytest.mark.parametrize("query", ["", "&follow=none&resume={chat_id}:1"])
async def test_who_was_removed_while_starting_follows_nothing_of_it(
    pair: Pair, query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = pair
    ada, bob = await one.somebody("ada"), await one.somebody("bob")
    chat_id = await one.group(ada, bob)
    watching = await two.connect(ada, "&follow=none")
    positions_of: Reading = member_statements.positions_of
    read: list[object] = []

    async def read_early(*given: object) -> object:
        """The removal, and the opening of the room here, come between this reading and what is made of it."""
        found = await positions_of(*given)
        if not read:
            read.append(found)
            await one.replica.members.remove(ada.principal, chat_id, bob.id)
            assert (await watching.done("join_chat", {"chat_id": chat_id}))["seq"] == 1
        return found

    monkeypatch.setattr(member_statements, "positions_of", read_early)
    client = await two.connect(bob, query.format(chat_id=chat_id))
    assert read
    await one.send(ada, chat_id, "secret")
    await watching.until("message", chat_id=chat_id)
    assert (await client.ask("ping"))["type"] == "pong"
    assert client.of_chat(chat_id, "message") == []
    for connected in (client, watching):
        await connected.close()


async def test_without_the_database_every_chat_of_a_resume_is_refused_at_once(
    pair: Pair, chats: Chats, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await pair[1].connect(chats.bob, "&follow=none")
    tried: list[object] = []

    async def away(*given: object) -> object:
        tried.append(given)
        raise Unavailable

    monkeypatch.setattr(member_statements, "membership", away)
    await client.tell("resume", {"positions": chats.after(1)})
    for _ in chats.ids:
        assert (await client.until("error"))["code"] == "unavailable"
    assert len(tried) == 1
    await client.close()
