"""Every row of ``inputs.py``: its answer, and that the replica is as well as before."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from chatapp.auth.keys import Keyring, SigningKey
from chatapp.auth.tokens import Tokens
from tests.gateway.replicas import User
from tests.security.inputs import FRAMES, HANDSHAKES, KINDS, PROVEN, REQUESTS, About, Frame, Handshake, Request
from tests.security.site import Site

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
async def ann(place: Site) -> User:
    return await place.node.somebody("ann")


@pytest.fixture(scope="module")
async def words(place: Site, ann: User) -> dict[str, object]:
    """What the rows' ``{…}`` stand for."""
    node, replica = place.node, place.node.replica
    bob = await node.somebody("bob")
    mine, theirs = await node.group(bob, ann), await node.group(bob)
    sent = await replica.messages.send(bob.principal, mine, "hello")
    stranger = Tokens(Keyring(SigningKey(b"x" * 32)), 3600)
    about = About(
        mine=mine,
        theirs=theirs,
        message=sent.message.id,
        me=ann.id,
        my_name=ann.name,
        token=ann.token,
        ticket=replica.socket_tickets.issue(ann.principal).ticket,
        other_key=stranger.issue(ann.id, ann.name, 0, None)[0],
    )
    wide = "".join(chr(ord(c) + 0xFEE0) for c in ann.name)
    return {**msgspec.structs.asdict(about), "my_wide_name": wide}


@pytest.fixture(autouse=True)
def nothing_broke(place: Site, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No traceback, nothing logged as an error, and no token in any log."""
    caplog.set_level(logging.INFO)
    yield
    assert [
        record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR or record.exc_info
    ] == []
    assert "v4.local." not in caplog.text


def ids(row: Request | Handshake | Frame) -> str:
    return f"{row.number} {row.name}".encode("ascii", "replace").decode()


def filled(text: str, words: dict[str, object]) -> str:
    """With the words in the places of ``{…}``."""
    for name, value in words.items():
        text = text.replace("{" + name + "}", str(value))
    return text


@pytest.mark.parametrize("row", REQUESTS, ids=ids)
async def test_a_request_gets_its_answer(place: Site, words: dict[str, object], row: Request) -> None:
    headers: dict[str, str | bytes] = {"content-type": row.content_type, **row.headers}
    if isinstance(row.token, bytes):
        headers["authorization"] = b"Bearer " + row.token
    elif row.token is not None:
        headers["authorization"] = f"Bearer {filled(row.token, words)}".strip()
    content = filled(row.body, words).encode() if isinstance(row.body, str) else row.body or b""
    response = await place.ask(row.method, filled(row.path, words), content=content, headers=headers)
    code = "" if response.is_success else response.json()["code"]
    assert (response.status_code, code) == (row.status, row.code)
    assert row.holds(response.content, response.headers)


@pytest.mark.parametrize("row", HANDSHAKES, ids=ids)
async def test_a_handshake_is_refused(place: Site, words: dict[str, object], row: Handshake) -> None:
    status, body, _ = await place.node.refusal(filled(row.query, words), additional_headers=row.headers)
    assert (status, body["code"]) == (row.status, row.code)


@pytest.mark.parametrize("row", FRAMES, ids=ids)
async def test_a_frame_gets_its_answer(place: Site, ann: User, words: dict[str, object], row: Frame) -> None:
    client = await place.node.connect(ann)
    for _ in range(row.times):
        await client.socket.send(filled(row.frame, words) if isinstance(row.frame, str) else row.frame)
    expected = [row.code] * row.times if row.code else []
    errors: list[str] = []
    while len(errors) < len(expected):
        event = await client.next()
        errors += [event["payload"]["code"]] if event["type"] == "error" else []
    assert errors == expected
    if row.closes is not None:
        assert (await client.closed())[0] == row.closes
    else:
        assert (await client.ask("ping"))["type"] == "pong"
    await client.close()


async def test_after_all_of_it_the_replica_serves_as_before(place: Site, ann: User, words: dict[str, object]) -> None:
    client = await place.node.connect(ann)
    assert (await client.send(int(str(words["mine"])), "still here"))["seq"] > 1
    assert (await place.ask("GET", "//health/ready")).json()["status"] == "ready"
    await client.close()


# -- what takes more than one request ---------------------------------------------------------------------------------


async def test_a_group_keeps_an_admin_whatever_its_last_one_does(place: Site) -> None:
    one, two = await place.node.somebody(), await place.node.somebody()
    chat = await place.node.group(one, two)
    resigned = await place.ask("PATCH", f"/chats/{chat}/members/{one.id}", one, {"is_admin": False})
    assert (resigned.status_code, resigned.json()["code"]) == (409, "last_admin")
    assert (await place.ask("DELETE", f"/chats/{chat}/members/{one.id}", one)).status_code == 200
    (left,) = (await place.ask("GET", f"/chats/{chat}/members", two)).json()
    assert (left["user_id"], left["is_admin"]) == (two.id, True)


async def test_no_answer_is_made_from_the_host(place: Site) -> None:
    answers = [
        await place.ask("GET", path, headers={"host": host, "x-request-id": "same"})
        for path in ("/auth/me", "//nothing")
        for host in ("chat.test", "evil.test")
    ]
    assert all(b"evil" not in answer.content for answer in answers)
    assert all("evil" not in value for answer in answers for value in answer.headers.values())


# -- nothing is left out ----------------------------------------------------------------------------------------------


async def test_every_kind_of_input_has_a_row() -> None:
    assert {row.number for rows in (REQUESTS, HANDSHAKES, FRAMES, PROVEN) for row in rows} == set(KINDS)


async def test_what_is_proven_elsewhere_is_there() -> None:
    for file, name in {tuple(where.split("::")) for row in PROVEN for where in row.where}:
        assert f"def {name}(" in (TESTS / file).read_text(), f"{file}::{name}"
