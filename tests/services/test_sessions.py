from __future__ import annotations

from datetime import timedelta

import pytest

from chatapp.auth.clock import utc_now
from chatapp.auth.principal import Principal
from chatapp.auth.revocations import Revocations
from chatapp.errors import InvalidToken, SessionNotFound
from chatapp.protocol.ids import SessionId
from chatapp.protocol.views import Session
from chatapp.services.revoking import Revoking
from chatapp.services.sessions import ADDRESS_MAX, USER_AGENT_MAX, origin
from chatapp.storage.sessions import Origin
from tests.world import PASSWORD, SESSIONS_PER_USER, World


async def login(world: World, actor: Principal, where: Origin | None = None) -> Principal:
    signed_in = await world.accounts.login(actor.username, PASSWORD, where or Origin())
    return world.tokens.verify(signed_in.token)


async def refresh(world: World, actor: Principal) -> Principal:
    return world.tokens.verify(await world.accounts.refresh(actor))


async def sessions(world: World, actor: Principal) -> list[Session]:
    return await world.sessions.page(actor, limit=100, offset=0)


def is_ended(world: World, *tokens: Principal) -> bool:
    """At this replica, and at one that hears nothing but reads the database."""
    for token in tokens:
        with pytest.raises(InvalidToken):
            world.revoking.check(token)
    return True


async def is_ended_elsewhere(world: World, *tokens: Principal) -> bool:
    other = Revoking(world.database, Revocations(utc_now), world.publisher)
    await other.load()
    for token in tokens:
        with pytest.raises(InvalidToken):
            other.check(token)
    return True


async def test_each_login_is_a_session_and_a_renewal_is_not(world: World) -> None:
    registered = await world.somebody()
    phone = await login(world, registered, Origin("203.0.113.7", "phone"))
    renewed = await refresh(world, phone)
    assert renewed.session_id == phone.session_id
    shown = await sessions(world, registered)
    assert [(s.id, s.current) for s in shown] == [(phone.session_id, False), (registered.session_id, True)]
    assert [s.current for s in await sessions(world, phone)] == [True, False]


async def test_what_is_kept_of_a_login_is_where_it_came_from_and_when(world: World) -> None:
    actor = await login(world, await world.somebody(), Origin("203.0.113.7", "phone"))
    shown = (await sessions(world, actor))[0]
    assert (shown.address, shown.user_agent) == ("203.0.113.7", "phone")
    assert shown.created_at == shown.last_seen
    assert timedelta(minutes=59) < shown.expires_at - shown.created_at < timedelta(minutes=61)


async def test_ending_a_session_ends_all_its_tokens_everywhere_and_no_others(world: World) -> None:
    actor = await world.somebody()
    phone = await login(world, actor)
    renewed = await refresh(world, phone)
    assert phone.session_id is not None
    await world.sessions.end(actor, phone.session_id)
    assert is_ended(world, phone, renewed)
    assert await is_ended_elsewhere(world, phone, renewed)
    world.revoking.check(actor)
    assert [s.id for s in await sessions(world, actor)] == [actor.session_id]


async def test_a_session_that_was_just_ended_elsewhere_cannot_be_renewed(world: World) -> None:
    phone = await login(world, await world.somebody())
    async with world.database.begin() as connection:
        await connection.exec_driver_sql("DELETE FROM sessions WHERE id = $1", (phone.session_id,))
    with pytest.raises(InvalidToken):
        await world.accounts.refresh(phone)


async def test_one_cannot_end_what_is_not_ones_own(world: World) -> None:
    actor, other = await world.somebody(), await world.somebody()
    assert other.session_id is not None
    for session_id in (other.session_id, SessionId(2**62)):
        with pytest.raises(SessionNotFound):
            await world.sessions.end(actor, session_id)
    world.revoking.check(other)
    await world.sessions.end(other, other.session_id)
    with pytest.raises(SessionNotFound):
        await world.sessions.end(other, other.session_id)


async def test_ending_all_others_spares_this_token_alone(world: World) -> None:
    actor = await world.somebody()
    other = await login(world, actor)
    sessionless = world.tokens.verify(world.tokens.issue(actor.user_id, actor.username, 0)[0])
    await world.sessions.end_others(actor)
    world.revoking.check(actor)
    assert is_ended(world, other, sessionless)
    assert await is_ended_elsewhere(world, other, sessionless)
    assert [s.id for s in await sessions(world, actor)] == [actor.session_id]
    renewed = await refresh(world, actor)
    world.revoking.check(renewed)


async def test_a_login_that_was_under_way_while_all_others_were_ended_is_ended_too(world: World) -> None:
    actor = await world.somebody()
    await world.sessions.end_others(actor)
    late = world.tokens.verify(world.tokens.issue(actor.user_id, actor.username, 0, SessionId(2**62))[0])
    assert is_ended(world, late)


async def test_a_logout_ends_the_session_with_its_renewed_tokens(world: World) -> None:
    phone = await login(world, await world.somebody())
    renewed = await refresh(world, phone)
    await world.accounts.logout(phone)
    assert is_ended(world, phone, renewed)
    assert await is_ended_elsewhere(world, phone, renewed)
    assert phone.session_id not in [s.id for s in await sessions(world, phone)]


async def test_a_new_password_ends_the_other_sessions(world: World) -> None:
    actor = await world.somebody()
    await login(world, actor)
    await world.users.update(actor, actor.user_id, password="another password")
    assert [s.id for s in await sessions(world, actor)] == [actor.session_id]


async def test_a_deleted_account_has_no_sessions(world: World) -> None:
    actor = await world.somebody()
    await world.users.delete(actor, actor.user_id)
    assert await sessions(world, actor) == []


async def test_with_one_login_too_many_the_oldest_session_ends(world: World) -> None:
    first = await world.somebody()
    others = [await login(world, first) for _ in range(SESSIONS_PER_USER)]
    assert is_ended(world, first)
    assert await is_ended_elsewhere(world, first)
    assert [s.id for s in await sessions(world, others[0])] == [s.session_id for s in reversed(others)]
    for other in others:
        world.revoking.check(other)


async def test_a_token_of_before_there_were_sessions_works_and_gets_one_when_it_is_renewed(world: World) -> None:
    actor = await world.somebody()
    old = world.tokens.verify(world.tokens.issue(actor.user_id, actor.username, 0)[0])
    world.revoking.check(old)
    assert not any(s.current for s in await sessions(world, old))
    renewed = await refresh(world, old)
    assert renewed.session_id not in (None, actor.session_id)
    await world.accounts.logout(old)
    assert is_ended(world, old)
    world.revoking.check(renewed)


async def test_sessions_that_are_in_use_are_noted_as_seen(world: World) -> None:
    actor = await world.somebody()
    async with world.database.begin() as connection:
        await connection.exec_driver_sql(
            "UPDATE sessions SET last_seen = now() - interval '1 hour' WHERE user_id = $1", (actor.user_id,)
        )
    world.sessions.saw(actor)
    await world.sessions.flush()
    shown = (await sessions(world, actor))[0]
    assert utc_now() - shown.last_seen < timedelta(minutes=1)


async def test_what_has_expired_is_not_shown_and_then_removed(world: World) -> None:
    actor = await world.somebody()
    async with world.database.begin() as connection:
        await connection.exec_driver_sql(
            "UPDATE sessions SET expires_at = now() - interval '2 minutes' WHERE user_id = $1", (actor.user_id,)
        )
    assert await sessions(world, actor) == []
    await world.sessions.prune()
    async with world.database.read() as connection:
        left = await connection.exec_driver_sql("SELECT id FROM sessions WHERE user_id = $1", (actor.user_id,))
    assert left.first() is None


@pytest.mark.parametrize(
    ("given", "kept"),
    [("x" * 5000, "x" * USER_AGENT_MAX), ("a\x00b\x1b[31mc\u202e", "ab[31mc"), ("\ud800", ""), ("", "")],
)
def test_what_a_client_says_of_itself_is_cut_to_what_can_be_kept(given: str, kept: str) -> None:
    assert origin("203.0.113.7", given) == Origin("203.0.113.7", kept)
    assert len(origin("1" * 1000, "").address) == ADDRESS_MAX
