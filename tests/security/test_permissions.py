"""Every cell of the table in ``permissions.py``, and that the table leaves nothing out."""

from __future__ import annotations

import json
import secrets
from typing import Any, get_args

import httpx
import msgspec
import pytest
from litestar.routes import HTTPRoute

from chatapp.auth.principal import Principal
from chatapp.protocol.commands import Command
from chatapp.storage import users
from tests.gateway.replicas import PASSWORD, Client, User
from tests.security.permissions import COMMANDS, OK, ROLES, ROUTES, UNTOLD, Row, Stage
from tests.security.site import Site

HERE = ("stranger", "former", "member", "admin", "creator")


class Cast:
    """The people of the table, and stages for them."""

    def __init__(self, place: Site, people: dict[str, User], names: dict[str, str]) -> None:
        self.place = place
        self.people = people
        self.names = names

    @property
    def others(self) -> tuple[User, User]:
        """A further member, and an outsider."""
        return self.people["other"], self.people["outsider"]

    async def stage(self) -> tuple[int, int, User, User]:
        """A new group with the member's message in it; another member; and an outsider."""
        node, replica = self.place.node, self.place.node.replica
        people = self.people
        other, outsider = self.others
        chat = await node.group(people["creator"], people["admin"], people["member"], people["former"], other)
        creator = people["creator"].principal
        await replica.members.set_admin(creator, chat, people["admin"].id, is_admin=True)
        await replica.members.remove(creator, chat, people["former"].id)
        sent = await replica.messages.send(people["member"].principal, chat, "hello")
        return chat, sent.message.id, other, outsider

    def seen_by(self, role: str, stage: tuple[int, int, User, User]) -> Stage:
        chat, message, other, outsider = stage
        me = self.people.get(role)
        return Stage(
            chat=chat,
            message=message,
            other=other.id,
            session=other.principal.session_id or 0,
            outsider=outsider.id,
            me=me.id if me else 1,
            my_name=self.names.get(role, "there-is-nobody-of-this-name"),
            fresh=f"fresh-{secrets.token_hex(6)}",
        )


@pytest.fixture(scope="module")
async def cast(place: Site) -> Cast:
    node, replica = place.node, place.node.replica
    people = {role: await node.somebody(role) for role in (*ROLES, "other", "outsider") if role != "nobody"}
    names = {role: user.name for role, user in people.items()}
    chat = await node.group(people["creator"], people["deleted"], people["suspended"])
    await replica.users.delete(people["deleted"].principal, people["deleted"].id)
    async with replica.database.begin() as connection:
        generation = await users.suspend(connection, people["suspended"].id)
        assert generation is not None
        row, _ = await replica.sessions.end_below(connection, people["suspended"].id, generation)
    replica.revoking.tell(row)
    assert chat
    return Cast(place, people, names)


async def log_in_anew(cast: Cast) -> None:
    """After a row that ended sessions."""
    for role in HERE:
        signed_in = await cast.place.node.replica.accounts.login(cast.names[role], PASSWORD)
        principal: Principal = cast.place.node.replica.authenticate(signed_in.token)
        cast.people[role] = User(signed_in.user.id, signed_in.user.username, signed_in.token, principal)


@pytest.mark.parametrize("row", ROUTES, ids=lambda row: row.what)
async def test_a_route_answers_each_as_the_table_says(cast: Cast, row: Row) -> None:
    answers = {}
    stage = None
    for role in ROLES:
        stage = stage or await cast.stage()
        seen = cast.seen_by(role, stage)
        method = row.what.partition(" ")[0]
        response = await cast.place.ask(method, row.path(seen), cast.people.get(role), row.body(seen))
        answers[role] = told(response)
        if response.is_success and method != "GET":
            stage = None
    if row.what.endswith(("/auth/logout", "/auth/sessions")):
        await log_in_anew(cast)
    assert answers == {role: row.expected(role) for role in ROLES}


@pytest.mark.parametrize("row", COMMANDS, ids=lambda row: row.what)
async def test_a_command_is_answered_to_each_as_the_table_says(cast: Cast, row: Row) -> None:
    answers = {}
    for role in ROLES:
        if role not in HERE:
            user = cast.people.get(role)
            status, body, _ = await cast.place.node.refusal(f"?token={user.token}" if user else "")
            answers[role] = f"{status} {body['code']}"
            continue
        seen = cast.seen_by(role, await cast.stage())
        client = await cast.place.node.connect(cast.people[role])
        answers[role] = await answer(client, row.what, row.body(seen))
        await client.close()
    assert answers == {role: row.expected(role) for role in ROLES}


async def answer(client: Client, kind: str, payload: Any) -> str:
    """``typing`` is not acked: what comes before the answer to a following ``ping`` counts."""
    asked = payload.get("user_ids", ())
    if kind == "typing":
        await client.tell(kind, payload, id="typed")
        await client.ask("ping")
        # Membership may have to be asked of the database; commands of one connection are carried out in their order.
        await client.ask("read", {"chat_id": payload["chat_id"], "seq": 0})
        refused = [heard for heard in client.heard if heard.get("id") == "typed"]
        if not refused:
            return OK
        event = refused[0]
    else:
        event = await client.ask(kind, payload)
    if kind == "presence" and event["type"] == "ack":
        told = [heard for heard in client.heard if heard["type"] == "presence" and heard["payload"]["user_id"] in asked]
        return OK if told else UNTOLD
    return OK if event["type"] in ("ack", "pong") else f"403 {event['payload']['code']}"


def told(response: httpx.Response) -> str:
    return OK if response.is_success else f"{response.status_code} {response.json()['code']}"


# -- nothing is left out ----------------------------------------------------------------------------------------------


async def test_every_route_has_its_row(place: Site) -> None:
    served = {
        f"{method} {route.path_format}"
        for route in place.app.api.routes
        if isinstance(route, HTTPRoute) and not route.path.startswith("/schema")
        for method in route.methods - {"OPTIONS", "HEAD"}
    }
    assert {row.what for row in ROUTES} == served


def test_every_command_has_its_row() -> None:
    kinds = {kind.__struct_config__.tag for kind in get_args(Command)}
    assert {row.what for row in COMMANDS} == kinds


# -- what cannot be found out -----------------------------------------------------------------------------------------

FAR = 2**62


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/chats/{}", None),
        ("PUT", "/chats/{}", {"name": "x"}),
        ("GET", "/chats/{}/members", None),
        ("POST", "/chats/{}/members", {"member_ids": [1]}),
        ("PATCH", "/chats/{}/members/1", {"is_admin": True}),
        ("DELETE", "/chats/{}/members/1", None),
        ("GET", "/messages/chat/{}", None),
        ("POST", "/messages", {"chat_id": "{}", "content": "x"}),
    ],
)
async def test_a_stranger_cannot_tell_a_chat_that_is_from_one_that_is_not(
    cast: Cast, method: str, path: str, body: dict[str, Any] | None
) -> None:
    chat, *_ = await cast.stage()
    answers = []
    for chat_id in (chat, FAR):
        given = {key: chat_id if value == "{}" else value for key, value in body.items()} if body else None
        response = await cast.place.ask(
            method, path.format(chat_id), cast.people["outsider"], given, headers={"x-request-id": "same"}
        )
        head = {name: value for name, value in response.headers.items() if name != "date"}
        answers.append((response.status_code, head, response.content))
    assert answers[0] == answers[1]
    assert answers[0][0] == 403


@pytest.mark.parametrize("kind", ["message", "join_chat", "resume", "typing", "read", "leave_chat"])
async def test_a_stranger_cannot_tell_them_apart_on_a_socket_either(cast: Cast, kind: str) -> None:
    chat, *_ = await cast.stage()
    (row,) = (row for row in COMMANDS if row.what == kind)
    client = await cast.place.node.connect(cast.people["outsider"])
    heard = []
    for chat_id in (chat, FAR):
        seen = msgspec.structs.replace(cast.seen_by("outsider", (chat, 1, *cast.others)), chat=chat_id)
        told = await answer(client, kind, row.body(seen))
        event = {**client.heard[-1], "id": None}
        heard.append((told, json.dumps(event).replace(str(chat_id), "the chat")))
    assert heard[0] == heard[1]
    await client.close()


@pytest.mark.parametrize("who", ["unknown", "living", "deleted", "suspended"])
async def test_a_login_costs_one_computation_whoever_is_meant_and_tells_nothing(
    cast: Cast, who: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Times differ by chance, so the computations are counted instead."""
    passwords = cast.place.node.replica.passwords
    computed: list[str | None] = []
    matches = passwords._matches

    def counted(stored: str | None, given: bytes) -> bool:
        computed.append(stored)
        return matches(stored, given)

    monkeypatch.setattr(passwords, "_matches", counted)
    name = {"living": cast.names["member"], "unknown": "there-is-nobody-of-this-name"}.get(who) or cast.names[who]
    body = {"username": name, "password": "wrong horse"}
    response = await cast.place.ask("POST", "/auth/login", body=body)
    assert (response.status_code, response.json()) == (
        401,
        {"error": "invalid credentials", "code": "invalid_credentials"},
    )
    assert len(computed) == 1
    assert (computed[0] is None) == (who in ("unknown", "deleted"))


async def test_a_user_who_is_deleted_is_as_one_who_never_was(cast: Cast) -> None:
    answers = [
        await cast.place.ask("GET", f"/users/{user_id}", cast.people["member"], headers={"x-request-id": "same"})
        for user_id in (cast.people["deleted"].id, FAR)
    ]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert answers[0].content == answers[1].content
