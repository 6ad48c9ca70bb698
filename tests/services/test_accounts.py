from __future__ import annotations

import asyncio
import secrets
from datetime import timedelta

import pytest

from chatapp.auth.passwords import Passwords
from chatapp.errors import InvalidCredentials, InvalidToken, UsernameTaken, ValidationFailed
from chatapp.services.accounts import Accounts
from chatapp.storage import users
from tests.world import PASSWORD, World


def fresh_name(name: str = "Alice") -> str:
    return f"{name}-{secrets.token_hex(6)}"


async def test_registering_gives_a_token_and_the_profile(world: World) -> None:
    name = fresh_name()
    signed_in = await world.accounts.register(f"  {name} ", PASSWORD, " Alice A. ")
    assert signed_in.user.username == name
    assert signed_in.user.display_name == "Alice A."
    assert world.tokens.verify(signed_in.token).user_id == signed_in.user.id


@pytest.mark.parametrize("change", [str.lower, str.upper, str.swapcase])
async def test_names_are_unique_without_regard_to_case(world: World, change: object) -> None:
    name = fresh_name()
    await world.accounts.register(name, PASSWORD)
    with pytest.raises(UsernameTaken):
        await world.accounts.register(change(name), PASSWORD)  # type: ignore[operator]


async def test_of_those_who_race_for_a_name_one_gets_it(world: World) -> None:
    name = fresh_name()
    outcomes = await asyncio.gather(
        *(world.accounts.register(name, PASSWORD) for _ in range(6)), return_exceptions=True
    )
    assert sum(not isinstance(outcome, BaseException) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, UsernameTaken) for outcome in outcomes) == 5


async def test_everything_that_is_wrong_is_told_at_once(world: World) -> None:
    with pytest.raises(ValidationFailed) as refused:
        await world.accounts.register(" ab ", "12345", "x" * 101)
    told = [(problem.field, problem.tag, problem.value) for problem in refused.value.messages]
    assert told == [("username", "min", "3"), ("password", "min", "6"), ("display_name", "max", "100")]


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("", "required"),
        ("   ", "required"),
        ("a" * 51, "max"),
        ("a\0bc", "type"),
        ("a\x07bc", "type"),
        ("a\ud800bc", "type"),
        ("\u200b\u200b\u200b", "required"),
    ],
)
async def test_a_name_must_be_fit_for_one(world: World, name: str, tag: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        await world.accounts.register(name, PASSWORD)
    assert [problem.tag for problem in refused.value.messages] == [tag]


async def test_logging_in_works_under_any_case_of_the_name(world: World) -> None:
    name = fresh_name()
    await world.accounts.register(name, PASSWORD)
    signed_in = await world.accounts.login(name.upper(), PASSWORD)
    assert signed_in.user.username == name


@pytest.mark.parametrize("name", [None, "nobody-at-all", "with\0nul"])
async def test_a_login_that_fails_does_not_say_why(world: World, name: str | None) -> None:
    actor = await world.somebody()
    with pytest.raises(InvalidCredentials):
        await world.accounts.login(name or actor.username, "wrong password")


async def test_a_password_that_cannot_be_one_is_refused(world: World) -> None:
    actor = await world.somebody()
    with pytest.raises(InvalidCredentials):
        await world.accounts.login(actor.username, "x" * 100_000)


async def test_a_login_brings_an_old_hash_up_to_date(world: World) -> None:
    actor = await world.somebody()
    stronger = Passwords(time_cost=2, memory_kib=64, parallelism=1)
    accounts = Accounts(world.database, stronger, world.tokens, world.revoking, world.sessions)
    await accounts.login(actor.username, PASSWORD)
    found = await users.credentials(world.database, actor.username)
    stronger.close()
    assert found is not None
    assert "t=2" in found.password
    await world.accounts.login(actor.username, PASSWORD)


async def test_a_token_ends_with_the_logout(world: World) -> None:
    actor = await world.somebody()
    world.revoking.check(actor)
    await world.accounts.logout(actor)
    with pytest.raises(InvalidToken):
        world.revoking.check(actor)
    assert len(world.bus.control()) == 1


async def test_a_renewed_token_replaces_the_old_one_after_a_minute(world: World) -> None:
    actor = await world.somebody()
    token = await world.accounts.refresh(actor)
    renewed = world.tokens.verify(token)
    assert (renewed.user_id, renewed.generation) == (actor.user_id, actor.generation)
    world.revoking.check(actor)
    async with world.database.read() as connection:
        row = (
            await connection.exec_driver_sql(
                "SELECT effective_at - created_at AS delay FROM revocations WHERE token_id = $1", (actor.token_id,)
            )
        ).one()
    assert row.delay == timedelta(seconds=60)


async def test_a_token_that_a_new_password_ended_elsewhere_cannot_be_renewed(world: World) -> None:
    actor = await world.somebody()
    other_session = world.tokens.verify((await world.accounts.login(actor.username, PASSWORD)).token)
    await world.users.update(actor, actor.user_id, password="another password")
    with pytest.raises(InvalidToken):
        await world.accounts.refresh(other_session)


async def test_the_token_that_set_the_new_password_can_be_renewed(world: World) -> None:
    actor = await world.somebody()
    await world.users.update(actor, actor.user_id, password="another password")
    renewed = world.tokens.verify(await world.accounts.refresh(actor))
    assert renewed.generation == actor.generation + 1
    world.revoking.check(renewed)


async def test_one_sees_oneself(world: World) -> None:
    actor = await world.somebody()
    assert (await world.accounts.me(actor)).id == actor.user_id
