"""Random commands of several people on sockets and over REST, against a model of what must come of each.

The steps name people, connections, chats and messages by number, so that every list of steps makes sense and a failing
one shrinks. They are taken one after the other; what is pushed meanwhile is judged at the end.
"""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import strategies as st
from msgspec import Struct, field

from tests.gateway.replicas import TIMEOUT_S, Client, User
from tests.security.site import Site

OK = "ok"
GARBAGE = (
    "[]",
    "null",
    '{"type": "nothing", "payload": {}}',
    '{"type": "message", "payload": {}}',
    '{"type": "message", "payload": {"chat_id": -1, "content": "x"}}',
    '{"type": "join_chat", "payload": {"chat_id": "x"}}',
    '{"type": "read", "payload": {"chat_id": 1, "seq": 1e400}}',
)
CONTENTS = {"hello": OK, "\u00e9\U0001f600 <b>": OK, "": "validation_failed", " \u200b": "validation_failed"}
CONTENTS |= {"a\0b": "validation_failed", "x" * 16_385: "validation_failed"}

ACTS = ["send", "send", "rest_send", "edit", "delete", "add", "remove", "rename", "join", "leave", "read", "ping"]
ACTS += ["typing", "garbage", "far"]


class Step(Struct, frozen=True):
    """One act. Numbers are taken modulo what there is."""

    act: str
    who: int
    chat: int
    which: int
    content: str
    nonce: str | None


steps = st.lists(
    st.builds(
        Step,
        act=st.sampled_from(ACTS),
        who=st.integers(0, 3),
        chat=st.integers(0, 1),
        which=st.integers(0, 5),
        content=st.sampled_from(list(CONTENTS)),
        nonce=st.none() | st.sampled_from(["one", "two"]),
    ),
    min_size=25,
    max_size=60,
)


class Chat(Struct):
    """What must be true of a chat."""

    id: int
    admin: User
    members: set[int]
    seq: int = 0
    messages: dict[int, tuple[int, bool]] = field(default_factory=dict)
    """Sender, and whether it is still there."""


class Sent(Struct, frozen=True):
    """What a nonce stands for."""

    chat: int
    content: str
    message: int


class Machine:
    """Carries out steps; every method that takes one asserts that its answer is the model's."""

    def __init__(self, site: Site, people: list[User], eve: User, chats: list[Chat], run: str) -> None:
        self._site = site
        self._people = people
        self._chats = chats
        self._run = run
        self._eve_is = eve
        self._nonces: dict[tuple[int, str], Sent] = {}
        self.clients: list[tuple[User, Client]] = []

    async def open(self) -> None:
        """Two connections for each, one for who is in no chat."""
        for user in self._people:
            for _ in range(2):
                self.clients.append((user, await self._site.node.connect(user)))
        self.eve = await self._site.node.connect(self._eve_is)

    async def close(self) -> None:
        for _, client in self.clients:
            await client.close()
        await self.eve.close()

    async def take(self, step: Step) -> None:
        """One step."""
        user, client = self.clients[step.who % len(self.clients)]
        chat = self._chats[step.chat]
        await getattr(self, f"_{step.act}")(step, user, client, chat)

    # -- acts ---------------------------------------------------------------------------------------------------------

    async def _send(self, step: Step, user: User, client: Client, chat: Chat) -> None:
        payload: dict[str, Any] = {"chat_id": chat.id, "content": step.content}
        key = None if step.nonce is None else (user.id, f"{self._run}-{step.nonce}")
        if key is not None:
            payload["nonce"] = key[1]
        expected = CONTENTS[step.content]
        before = None if key is None else self._nonces.get(key)
        if expected == OK and user.id not in chat.members:
            expected = "not_a_member"
        elif expected == OK and before is not None and (before.chat, before.content) != (chat.id, step.content):
            expected = "nonce_reused"
        told = await self._asked(client, "message", payload, expected)
        if expected != OK:
            return
        if before is not None:
            assert told["message_id"] == before.message
            return
        chat.seq += 1
        assert told["seq"] == chat.seq
        chat.messages[told["message_id"]] = (user.id, True)
        if key is not None:
            self._nonces[key] = Sent(chat.id, step.content, told["message_id"])

    async def _rest_send(self, step: Step, user: User, client: Client, chat: Chat) -> None:
        answer = await self._site.ask("POST", "/messages", user, {"chat_id": chat.id, "content": step.content})
        if CONTENTS[step.content] != OK:
            assert answer.status_code == 400
        elif user.id not in chat.members:
            assert (answer.status_code, answer.json()["code"]) == (403, "not_a_member")
        else:
            chat.seq += 1
            assert (answer.status_code, answer.json()["seq"]) == (201, chat.seq)
            chat.messages[answer.json()["id"]] = (user.id, True)

    async def _edit(self, step: Step, user: User, client: Client, chat: Chat) -> None:
        message, sender, there = self._message(step, chat)
        expected = CONTENTS[step.content]
        if expected == OK:
            expected = self._may_change(user, chat, sender, there, own=True)
        told = await self._asked(client, "edit_message", {"message_id": message, "content": step.content}, expected)
        if expected == OK:
            chat.seq += 1
            assert told["seq"] == chat.seq

    async def _delete(self, step: Step, user: User, client: Client, chat: Chat) -> None:
        message, sender, there = self._message(step, chat)
        expected = self._may_change(user, chat, sender, there, own=user.id != chat.admin.id)
        told = await self._asked(client, "delete_message", {"message_id": message}, expected)
        if expected == OK:
            chat.seq += 1
            assert told["seq"] == chat.seq
            chat.messages[message] = (sender, False)

    async def _add(self, step: Step, user: User, client: Client, chat: Chat) -> None:
        whom = self._people[step.which % len(self._people)]
        answer = await self._site.ask("POST", f"/chats/{chat.id}/members", user, {"member_ids": [whom.id]})
        if self._refused(user, chat, answer.status_code):
            return
        chat.seq += whom.id not in chat.members
        chat.members.add(whom.id)

    async def _remove(self, step: Step, user: User, client: Client, chat: Chat) -> None:
        whom = next(one for one in self._people if one.id != chat.admin.id)
        answer = await self._site.ask("DELETE", f"/chats/{chat.id}/members/{whom.id}", user)
        if user.id != whom.id and self._refused(user, chat, answer.status_code):
            return
        expected = 200 if whom.id in chat.members else 403 if user.id == whom.id else 404
        assert answer.status_code == expected
        chat.seq += whom.id in chat.members
        chat.members.discard(whom.id)

    async def _rename(self, step: Step, user: User, client: Client, chat: Chat) -> None:
        name = f"{self._run} {chat.seq}"
        answer = await self._site.ask("PUT", f"/chats/{chat.id}", user, {"name": name})
        if not self._refused(user, chat, answer.status_code):
            chat.seq += 1

    async def _join(self, step: Step, user: User, client: Client, chat: Chat) -> None:
        expected = OK if user.id in chat.members else "not_a_member"
        await self._asked(client, "join_chat", {"chat_id": chat.id}, expected)

    async def _leave(self, step: Step, user: User, client: Client, chat: Chat) -> None:
        await self._asked(client, "leave_chat", {"chat_id": chat.id}, OK)

    async def _read(self, step: Step, user: User, client: Client, chat: Chat) -> None:
        expected = OK if user.id in chat.members else "not_a_member"
        told = await self._asked(client, "read", {"chat_id": chat.id, "seq": step.which * 1000}, expected)
        assert expected != OK or told["seq"] <= chat.seq

    async def _typing(self, step: Step, user: User, client: Client, chat: Chat) -> None:
        await client.tell("typing", {"chat_id": chat.id})

    async def _ping(self, step: Step, user: User, client: Client, chat: Chat) -> None:
        assert (await client.ask("ping"))["type"] == "pong"

    async def _garbage(self, step: Step, user: User, client: Client, chat: Chat) -> None:
        await client.socket.send(GARBAGE[step.which % len(GARBAGE)])
        await self._ping(step, user, client, chat)

    async def _far(self, step: Step, user: User, client: Client, chat: Chat) -> None:
        if user.id in chat.members:
            await self._asked(client, "join_chat", {"chat_id": chat.id, "after_seq": 10**9}, "resync_required")

    # -- what must be -------------------------------------------------------------------------------------------------

    async def _asked(self, client: Client, kind: str, payload: dict[str, Any], expected: str) -> dict[str, Any]:
        event = await client.ask(kind, payload)
        told: dict[str, Any] = event["payload"]
        assert (OK if event["type"] == "ack" else told["code"]) == expected, (kind, payload, event)
        return told

    def _message(self, step: Step, chat: Chat) -> tuple[int, int, bool]:
        if not chat.messages:
            return 2**62, 0, False
        message = list(chat.messages)[step.which % len(chat.messages)]
        return message, *chat.messages[message]

    def _may_change(self, user: User, chat: Chat, sender: int, there: bool, *, own: bool) -> str:
        if not there:
            return "message_not_found"
        if own and sender != user.id:
            return "not_your_message"
        return OK if user.id in chat.members else "not_a_member"

    def _refused(self, user: User, chat: Chat, status: int) -> bool:
        """Only the admin may; whether the answer says so to another."""
        if user.id == chat.admin.id:
            assert status in (200, 404)
            return False
        assert status == 403
        return True

    async def check(self) -> None:
        """After all steps: the order, the answers, and that nobody heard what is not for them."""
        for chat in self._chats:
            answer = await self._site.ask("GET", f"/chats/{chat.id}", chat.admin)
            assert answer.json()["last_seq"] == chat.seq
            # One more message, which all who follow the chat must hear after everything else.
            last = await self._site.ask("POST", "/messages", chat.admin, {"chat_id": chat.id, "content": "last"})
            chat.seq += 1
            assert last.json()["seq"] == chat.seq
        for user, client in self.clients:
            await self._hear_all(user, client)
            answers = [event["id"] for event in client.heard if "id" in event]
            assert len(answers) == len(set(answers))
        assert (await self.eve.ask("ping"))["type"] == "pong"
        assert {event["type"] for event in self.eve.heard} <= {"ready", "pong", "presence"}

    async def _hear_all(self, user: User, client: Client) -> None:
        for chat in self._chats:
            joined = await client.ask("join_chat", {"chat_id": chat.id})
            assert (joined["type"] == "ack") == (user.id in chat.members)
            positions = client.positions(chat.id)
            if user.id in chat.members and positions:
                async with asyncio.timeout(TIMEOUT_S):
                    while client.positions(chat.id)[-1] < chat.seq and joined["payload"]["seq"] < chat.seq:
                        await client.next()
            positions = client.positions(chat.id)
            assert positions == sorted(set(positions)), positions
            assert all(position <= chat.seq for position in positions)


async def play(site: Site, people: list[User], eve: User, script: list[Step], run: str) -> None:
    """One script, in two new chats: one of both people, one of the first alone."""
    one, two = people
    shared, alone = await site.node.group(one, two), await site.node.group(one)
    chats = [Chat(shared, one, {one.id, two.id}), Chat(alone, one, {one.id})]
    machine = Machine(site, people, eve, chats, run)
    await machine.open()
    try:
        for step in script:
            await machine.take(step)
        await machine.check()
    finally:
        await machine.close()
