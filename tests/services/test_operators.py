from __future__ import annotations

import secrets

import pytest

from chatapp.auth.clock import utc_now
from chatapp.auth.principal import Principal
from chatapp.errors import (
    ChatAppError,
    Conflict,
    InvalidCredentials,
    InvalidToken,
    Suspended,
    UsernameTaken,
    UserNotFound,
    ValidationFailed,
)
from chatapp.protocol.ids import UserId
from chatapp.services import audit
from chatapp.storage import audit as statements
from chatapp.storage.audit import Actor, Details, Record
from tests.world import PASSWORD, World

NOBODY = UserId(2**62)
OLGA = Actor("operator", "olga")


async def noted(world: World, target: str) -> list[Record]:
    """Oldest first."""
    return (await statements.page(world.database, limit=50, target=target))[::-1]


async def test_a_suspended_user_is_out_everywhere_and_cannot_log_in(world: World) -> None:
    actor = await world.somebody()
    await world.operators.suspend(actor.user_id)
    with pytest.raises(InvalidToken):
        world.revoking.check(actor)
    with pytest.raises(InvalidToken):
        await world.accounts.refresh(actor)
    with pytest.raises(Suspended):
        await world.accounts.login(actor.username, PASSWORD)
    assert await world.sessions.page(actor, limit=10, offset=0) == []


async def test_that_an_account_is_suspended_is_told_to_who_knows_its_password_alone(world: World) -> None:
    actor = await world.somebody()
    await world.operators.suspend(actor.user_id)
    with pytest.raises(InvalidCredentials):
        await world.accounts.login(actor.username, "wrong password")


async def test_a_reinstated_user_logs_in_anew(world: World) -> None:
    actor = await world.somebody()
    await world.operators.suspend(actor.user_id)
    await world.operators.reinstate(actor.user_id)
    again = world.tokens.verify((await world.accounts.login(actor.username, PASSWORD)).token)
    world.revoking.check(again)
    with pytest.raises(InvalidToken):
        world.revoking.check(actor)


async def test_a_suspended_user_stays_a_member_with_all_messages(world: World) -> None:
    actor, other = await world.somebody(), await world.somebody()
    chat_id = await world.group(other, actor)
    sent = await world.messages.send(actor, chat_id, "hello")
    await world.operators.suspend(actor.user_id)
    members = await world.members.page(other, chat_id, limit=10, offset=0)
    assert actor.user_id in [member.user_id for member in members]
    shown = await world.messages.get(other, sent.message.id)
    assert shown.content == "hello"
    assert shown.sender is not None
    assert shown.sender.username == actor.username
    assert (await world.users.get(actor.user_id)).username == actor.username
    await world.direct(other, actor)


async def test_suspending_twice_and_reinstating_twice_is_a_conflict(world: World) -> None:
    actor = await world.somebody()
    await world.operators.suspend(actor.user_id)
    with pytest.raises(Conflict, match="already"):
        await world.operators.suspend(actor.user_id)
    await world.operators.reinstate(actor.user_id)
    with pytest.raises(Conflict, match="not suspended"):
        await world.operators.reinstate(actor.user_id)


async def test_a_password_that_an_operator_sets_ends_all_tokens(world: World) -> None:
    actor = await world.somebody()
    await world.operators.set_password(actor.user_id, "another password")
    with pytest.raises(InvalidToken):
        world.revoking.check(actor)
    with pytest.raises(InvalidCredentials):
        await world.accounts.login(actor.username, PASSWORD)
    await world.accounts.login(actor.username, "another password")


async def test_a_new_password_does_not_lift_a_suspension(world: World) -> None:
    actor = await world.somebody()
    await world.operators.suspend(actor.user_id)
    await world.operators.set_password(actor.user_id, "another password")
    with pytest.raises(Suspended):
        await world.accounts.login(actor.username, "another password")


async def test_an_operator_makes_accounts_under_the_same_rules(world: World) -> None:
    name = f"Nina-{secrets.token_hex(6)}"
    made = await world.operators.create_user(f" {name} ", PASSWORD, "Nina N.")
    assert (made.username, made.display_name) == (name, "Nina N.")
    assert (await world.accounts.login(name, PASSWORD)).user.id == made.id
    with pytest.raises(UsernameTaken):
        await world.operators.create_user(name.upper(), PASSWORD)
    with pytest.raises(ValidationFailed):
        await world.operators.create_user("x", "y")


async def test_accounts_are_found_by_name_and_by_id_and_listed(world: World) -> None:
    actor = await world.somebody()
    await world.operators.suspend(actor.user_id)
    by_name = await world.operators.find(actor.username.upper())
    assert by_name == await world.operators.find(str(actor.user_id))
    assert by_name.suspended_at is not None
    assert by_name.suspended_at <= utc_now()
    assert len(await world.operators.page(limit=1, offset=0)) == 1
    with pytest.raises(UserNotFound):
        await world.operators.find("nobody at all")


async def test_a_token_of_an_operator_is_a_session_that_the_user_sees(world: World) -> None:
    actor = await world.somebody()
    issued = world.tokens.verify(await world.operators.issue_token(actor.user_id))
    shown = (await world.sessions.page(actor, limit=1, offset=0))[0]
    assert (shown.id, shown.user_agent) == (issued.session_id, "operator olga")
    await world.operators.end_sessions(actor.user_id)
    for token in (actor, issued):
        with pytest.raises(InvalidToken):
            world.revoking.check(token)
    await world.operators.suspend(actor.user_id)
    with pytest.raises(Suspended):
        await world.operators.issue_token(actor.user_id)


async def test_who_does_not_exist_is_told_so(world: World) -> None:
    operators = world.operators
    for attempt in (
        operators.suspend(NOBODY),
        operators.reinstate(NOBODY),
        operators.set_password(NOBODY, PASSWORD),
        operators.end_sessions(NOBODY),
        operators.issue_token(NOBODY),
    ):
        with pytest.raises(UserNotFound):
            await attempt


# -- the log ----------------------------------------------------------------------------------------------------------


async def test_everything_that_an_operator_does_is_noted(world: World) -> None:
    made = await world.operators.create_user(f"nina-{secrets.token_hex(6)}", PASSWORD)
    await world.operators.set_password(made.id, "another password")
    await world.operators.issue_token(made.id)
    await world.operators.end_sessions(made.id)
    await world.operators.suspend(made.id)
    await world.operators.reinstate(made.id)
    records = await noted(world, audit.user(made.id))
    assert [record.action for record in records] == [
        "user.created",
        "user.password_set",
        "token.issued",
        "sessions.ended",
        "user.suspended",
        "user.reinstated",
    ]
    assert all(record.actor == OLGA for record in records)
    assert records[0].details == Details(name=made.username)
    assert records[3].details == Details(count=1)


async def test_what_admins_do_in_a_chat_is_noted_with_the_request(world: World) -> None:
    ann, bob, cyd = await world.somebody("ann"), await world.somebody("bob"), await world.somebody("cyd")
    chat_id = await world.group(ann, bob)
    sent = await world.messages.send(bob, chat_id, "a secret message")
    with audit.within_request("r-1"):
        await world.chats.rename(ann, chat_id, "knitting")
        await world.members.add(ann, chat_id, [bob.user_id, cyd.user_id])
        await world.members.set_admin(ann, chat_id, cyd.user_id, is_admin=True)
        await world.messages.delete(ann, sent.message.id)
        await world.members.remove(ann, chat_id, bob.user_id)
        await world.chats.delete(ann, chat_id)
    records = await noted(world, audit.chat(chat_id))
    assert [(record.action, record.details) for record in records] == [
        ("chat.renamed", Details(name="knitting", former_name="climbing")),
        ("members.added", Details(user_ids=[cyd.user_id])),
        ("member.role_changed", Details(user_ids=[cyd.user_id], is_admin=True)),
        ("member.removed", Details(user_ids=[bob.user_id])),
        ("chat.deleted", Details(name="knitting")),
    ]
    (deletion,) = await noted(world, audit.message(sent.message.id))
    assert (deletion.action, deletion.details) == (
        "message.deleted",
        Details(chat_id=chat_id, user_ids=[bob.user_id]),
    )
    assert {(r.actor, r.request_id) for r in [*records, deletion]} == {(_user(ann), "r-1")}


async def test_what_one_does_to_oneself_is_noted_where_it_ends_tokens(world: World) -> None:
    ann = await world.somebody("ann")
    other = world.tokens.verify((await world.accounts.login(ann.username, PASSWORD)).token)
    assert other.session_id is not None
    await world.sessions.end(ann, other.session_id)
    await world.sessions.end_others(ann)
    await world.users.update(ann, ann.user_id, password="another password")
    await world.users.delete(ann, ann.user_id)
    records = await noted(world, audit.user(ann.user_id))
    assert [(record.action, record.details) for record in records] == [
        ("session.ended", Details(session_id=other.session_id)),
        ("sessions.ended", Details(count=0)),
        ("user.password_set", Details()),
        ("user.deleted", Details()),
    ]
    assert {(r.actor, r.request_id) for r in records} == {(_user(ann), "")}


async def test_ones_own_message_and_ones_own_leaving_are_not_noted(world: World) -> None:
    ann, bob = await world.somebody("ann"), await world.somebody("bob")
    chat_id = await world.group(ann, bob)
    sent = await world.messages.send(bob, chat_id, "hello")
    await world.messages.delete(bob, sent.message.id)
    await world.members.remove(bob, chat_id, bob.user_id)
    assert await noted(world, audit.chat(chat_id)) == []
    assert await noted(world, audit.message(sent.message.id)) == []


async def test_what_is_refused_is_not_noted(world: World) -> None:
    ann, bob = await world.somebody("ann"), await world.somebody("bob")
    chat_id = await world.group(ann, bob)
    for attempt in (
        world.chats.rename(bob, chat_id, "mine"),
        world.chats.delete(bob, chat_id),
        world.members.remove(bob, chat_id, ann.user_id),
    ):
        with pytest.raises(ChatAppError):
            await attempt
    assert await noted(world, audit.chat(chat_id)) == []


async def test_the_log_is_read_newest_first_and_in_pages(world: World) -> None:
    ann = await world.somebody("ann")
    chat_id = await world.group(ann)
    for name in ("one", "two", "three"):
        await world.chats.rename(ann, chat_id, name)

    async def names(**which: object) -> list[str]:
        page = await statements.page(world.database, limit=2, target=audit.chat(chat_id), **which)  # type: ignore[arg-type]
        return [record.details.name for record in page]

    first = await statements.page(world.database, limit=2, target=audit.chat(chat_id))
    assert [record.details.name for record in first] == ["three", "two"]
    assert await names(before=first[-1].id) == ["one"]
    assert await names(actor_id=ann.user_id, action="chat.renamed", since=first[0].at) == ["three"]
    assert await names(actor_id=NOBODY) == []
    assert await statements.forget(world.database, first[-1].at) >= 1
    assert await names(before=first[-1].id) == []


async def test_a_password_never_gets_into_the_log(world: World) -> None:
    secret = f"secret-{secrets.token_hex(8)}"
    made = await world.operators.create_user(f"nina-{secrets.token_hex(6)}", secret)
    await world.operators.set_password(made.id, f"new-{secret}")
    async with world.database.read() as connection:
        rows = await connection.exec_driver_sql("SELECT row_to_json(a)::text AS text FROM audit_log a")
        assert not any(secret in row.text or "argon2" in row.text for row in rows)


async def test_replicas_are_told_at_once_of_what_an_operator_ends(world: World) -> None:
    actor = await world.somebody()
    await world.operators.suspend(actor.user_id)
    assert len(world.bus.control()) == 1


def _user(principal: Principal) -> Actor:
    return Actor("user", principal.username, principal.user_id)
