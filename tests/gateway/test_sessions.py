"""Sockets and what ends them or lets them in: sessions, suspended accounts, tickets."""

from __future__ import annotations

import asyncio

import pytest

from chatapp.services.operators import Operators
from tests.gateway.replicas import PASSWORD, Node, User, node

Pair = tuple[Node, Node]


def ticket(at: Node, user: User) -> str:
    return at.replica.socket_tickets.issue(user.principal).ticket


async def again(at: Node, user: User) -> User:
    token = (await at.replica.accounts.login(user.name, PASSWORD)).token
    return User(user.id, user.name, token, at.replica.authenticate(token))


def operators(at: Node) -> Operators:
    replica = at.replica
    return Operators(
        replica.database, replica.passwords, replica.tokens, replica.revoking, replica.sessions, operator="olga"
    )


async def test_ending_a_session_closes_its_sockets_at_every_replica_and_no_others(pair: Pair) -> None:
    one, two = pair
    user = await one.somebody()
    phone = await again(two, user)
    ended, kept = await two.connect(phone), await two.connect(user)
    assert phone.principal.session_id is not None
    started = asyncio.get_running_loop().time()
    await one.replica.sessions.end(user.principal, phone.principal.session_id)
    assert await ended.closed() == (4401, "token revoked")
    assert asyncio.get_running_loop().time() - started < 1.0
    assert (await kept.ask("ping"))["type"] == "pong"
    await kept.close()


async def test_suspending_a_user_closes_all_sockets_everywhere(pair: Pair) -> None:
    one, two = pair
    user = await one.somebody()
    sockets = [await one.connect(user), await two.connect(user), await two.connect(await again(one, user))]
    started = asyncio.get_running_loop().time()
    await operators(one).suspend(user.id)
    for socket in sockets:
        assert (await socket.closed())[0] == 4401
    assert asyncio.get_running_loop().time() - started < 1.0
    assert (await two.refusal(f"?token={user.token}"))[0] == 401


async def test_sockets_close_within_about_a_second_also_with_redis_away(gateway_database: str) -> None:
    away = "redis://127.0.0.1:1"
    async with node(gateway_database, away, "wire") as one, node(gateway_database, away, "wire") as two:
        user = await one.somebody()
        phone, tablet = await again(one, user), await again(one, user)
        sockets = [await two.connect(phone), await two.connect(tablet)]
        assert phone.principal.session_id is not None
        started = asyncio.get_running_loop().time()
        await one.replica.sessions.end(user.principal, phone.principal.session_id)
        await one.replica.sessions.end_others(user.principal)
        for socket in sockets:
            assert (await socket.closed())[0] == 4401
        assert asyncio.get_running_loop().time() - started < 2.0


async def test_a_dropped_key_closes_the_sockets_of_its_tokens(pair: Pair) -> None:
    one, _ = pair
    user = await one.somebody()
    socket = await one.connect(user)
    keyring = one.replica.keyring
    before = keyring.current
    try:
        keyring.change(type(before)(b"another key, of thirty-two bytes"))
        one.replica.gateway.check_revocations()
        assert (await socket.closed())[0] == 4401
        assert (await one.refusal(f"?token={user.token}"))[0] == 401
    finally:
        keyring.change(before)


# -- tickets ----------------------------------------------------------------------------------------------------------


async def test_a_ticket_opens_one_socket_at_any_replica(pair: Pair) -> None:
    one, two = pair
    user = await one.somebody()
    bought = ticket(one, user)
    client = await two.open(f"?ticket={bought}&follow=none")
    assert (await client.expect("ready"))["user_id"] == user.id
    for replica in pair:
        status, body, _ = await replica.refusal(f"?ticket={bought}")
        assert (status, body["code"]) == (401, "invalid_token")
    await client.close()


async def test_of_many_who_use_a_ticket_at_once_one_gets_in(pair: Pair) -> None:
    bought = ticket(pair[0], await pair[0].somebody())

    async def comes_in(replica: Node) -> bool:
        try:
            await replica.refusal(f"?ticket={bought}")
        except AssertionError:  # it was accepted
            return True
        return False

    outcomes = await asyncio.gather(*(comes_in(replica) for replica in pair * 4))
    assert outcomes.count(True) == 1


async def test_a_ticket_is_as_good_as_the_token_it_was_bought_with(pair: Pair) -> None:
    one, two = pair
    user = await one.somebody()
    client = await two.open(f"?ticket={ticket(one, user)}")
    await client.expect("ready")
    unused = ticket(one, user)
    await one.replica.accounts.logout(user.principal)
    assert (await client.closed())[0] == 4401
    assert (await one.refusal(f"?ticket={unused}"))[0] == 401


async def test_a_ticket_is_no_token_and_a_token_no_ticket(pair: Pair) -> None:
    one, _ = pair
    user = await one.somebody()
    bought = ticket(one, user)
    bearer = {"Authorization": f"Bearer {bought}"}
    assert (await one.refusal(f"?token={bought}"))[0] == 401
    assert (await one.refusal(additional_headers=bearer))[0] == 401
    assert (await one.refusal(f"?ticket={user.token}"))[0] == 401
    client = await one.open(f"?ticket={bought}")  # it was not used up by any of them
    await client.close()


async def test_a_ticket_is_not_used_up_by_a_handshake_that_is_refused_for_another_reason(pair: Pair) -> None:
    one, _ = pair
    bought = ticket(one, await one.somebody())
    assert (await one.refusal(f"?ticket={bought}&follow=perhaps"))[0] == 400
    client = await one.open(f"?ticket={bought}")
    await client.close()


@pytest.mark.parametrize("bad", ["", "x", "v4.local.x", "v4.local." + "A" * 300, "A" * 4000, "%00", "%C3%A9", "="])
async def test_with_a_bad_ticket_there_is_no_upgrade(pair: Pair, bad: str) -> None:
    status, body, _ = await pair[0].refusal(f"?ticket={bad}")
    assert status == 401
    assert body["code"] == ("invalid_token" if bad else "missing_token")
