from __future__ import annotations

from datetime import timedelta

import pytest

from chatapp.auth.clock import utc_now
from chatapp.auth.revocations import Revocation, Revocations
from chatapp.errors import InvalidToken
from chatapp.services.revoking import Revoking
from tests.world import World


def another_replica(world: World) -> Revoking:
    return Revoking(world.database, Revocations(utc_now), world.publisher)


async def test_a_replica_that_starts_knows_what_was_ended_before(world: World) -> None:
    actor = await world.somebody()
    await world.revoking.revoke(actor)
    other = another_replica(world)
    other.check(actor)
    await other.load()
    with pytest.raises(InvalidToken):
        other.check(actor)


async def test_another_replica_hears_it_on_the_control_topic(world: World) -> None:
    actor = await world.somebody()
    other = another_replica(world)
    await world.revoking.revoke(actor)
    for payload in world.bus.control():
        other.hear(payload)
    with pytest.raises(InvalidToken):
        other.check(actor)


async def test_another_replica_finds_it_without_the_bus(world: World) -> None:
    actor = await world.somebody()
    other = another_replica(world)
    await other.load()
    await world.revoking.revoke(actor)
    await other.poll()
    with pytest.raises(InvalidToken):
        other.check(actor)


async def test_subscribers_are_told_once_however_often_it_is_seen(world: World) -> None:
    actor = await world.somebody()
    told: list[Revocation] = []
    world.revoking.subscribe(told.append)
    await world.revoking.revoke(actor)
    await world.revoking.poll()
    await world.revoking.poll()
    for payload in world.bus.control():
        world.revoking.hear(payload)
    assert [revocation.token_id for revocation in told if revocation.user_id == actor.user_id] == [actor.token_id]


async def test_a_delayed_end_is_not_yet_one(world: World) -> None:
    actor = await world.somebody()
    await world.revoking.revoke(actor, timedelta(seconds=60))
    world.revoking.check(actor)


@pytest.mark.parametrize("payload", [b"", b"{}", b"\xff", b"[" * 5000])
async def test_nonsense_on_the_control_topic_does_no_harm(world: World, payload: bytes) -> None:
    world.revoking.hear(payload)


async def test_what_has_expired_is_deleted(world: World) -> None:
    actor = await world.somebody()
    async with world.database.begin() as connection:
        row = await world.revoking.write_generations(
            connection, actor.user_id, 1, expires_at=utc_now() - timedelta(hours=1)
        )
    await world.revoking.prune()
    async with world.database.read() as connection:
        left = (await connection.exec_driver_sql("SELECT 1 FROM revocations WHERE id = $1", (row.id,))).first()
    assert left is None
