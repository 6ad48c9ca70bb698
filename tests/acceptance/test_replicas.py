"""Two replicas are one service: what is done at one is seen at the other, and either may go at any time."""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import time
from collections.abc import AsyncIterator, Sequence

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from tests.acceptance.client import PASSWORD, Account, Frame, Rest, Socket, rests, socket
from tests.acceptance.replicas import ReplicaProcess, Replicas, wait_until

pytestmark = pytest.mark.alone

Two = tuple[ReplicaProcess, ReplicaProcess]
TwoRests = tuple[Rest, Rest]


@pytest.fixture(scope="module")
def two(site: Replicas) -> Two:
    one, other = site.start(2)
    return one, other


@pytest.fixture
async def rest(two: Two) -> AsyncIterator[TwoRests]:
    async with rests(*two) as (one, other):
        yield one, other


@pytest.fixture
async def ann(rest: TwoRests) -> Account:
    return await rest[0].register("ann")


@pytest.fixture
async def bob(rest: TwoRests) -> Account:
    return await rest[1].register("bob")


# -- what is done at one is seen at the other ------------------------------------------------------------------------


async def test_a_message_over_rest_reaches_the_sockets_of_another_replica(
    two: Two, rest: TwoRests, ann: Account, bob: Account
) -> None:
    chat = await rest[0].group(ann, bob)
    delays_s: list[float] = []
    async with socket(two[1], bob) as listening:
        for number in range(50):
            started = time.perf_counter()
            sent = await rest[0].send(ann, chat, f"number {number}")
            heard = await listening.expect("message")
            delays_s.append(time.perf_counter() - started)
            assert (heard["content"], heard["seq"]) == (f"number {number}", sent["seq"])
    median_s = statistics.median(delays_s)
    print(f"from REST at one replica to a socket at the other: median {median_s * 1000:.1f} ms")
    assert median_s < 1


async def test_a_new_chat_and_its_messages_reach_a_member_who_was_there_before_it(
    two: Two, rest: TwoRests, ann: Account, bob: Account
) -> None:
    async with socket(two[1], bob) as listening:
        chat = await rest[0].group(ann, bob, name="new")
        assert (await listening.expect("new_chat"))["id"] == chat
        await rest[0].send(ann, chat, "welcome")
        assert (await listening.expect("message"))["content"] == "welcome"


async def test_who_is_added_hears_from_then_on_and_who_is_removed_no_longer(
    two: Two, rest: TwoRests, ann: Account, bob: Account
) -> None:
    chat = await rest[0].group(ann)
    other = await rest[0].group(ann, bob, name="to know when all was heard")
    async with socket(two[1], bob) as listening:
        await rest[0].do("POST", f"/chats/{chat}/members", ann, json={"member_ids": [bob.user_id]})
        assert (await listening.expect("new_chat"))["id"] == chat
        await rest[0].send(ann, chat, "for bob too")
        assert (await listening.expect("message"))["content"] == "for bob too"
        await rest[0].do("DELETE", f"/chats/{chat}/members/{bob.user_id}", ann)
        assert (await listening.expect("member_removed"))["user_id"] == bob.user_id
        await rest[0].send(ann, chat, "not for bob")
        await rest[0].send(ann, other, "the end")
        assert (await listening.expect("message"))["content"] == "the end"
        await listening.tell("join_chat", {"chat_id": chat}, "again")
        refused = await listening.hear()
        assert (refused["type"], refused["id"], refused["payload"]["code"]) == ("error", "again", "not_a_member")


async def test_edits_deletions_typing_and_read_marks_cross_over(
    two: Two, rest: TwoRests, ann: Account, bob: Account
) -> None:
    chat = await rest[0].group(ann, bob)
    async with socket(two[1], bob) as listening, socket(two[0], ann) as talking:
        message = await rest[0].send(ann, chat, "frist")
        await rest[0].do("PUT", f"/messages/{message['id']}", ann, json={"content": "first"})
        updated = await listening.expect("message_updated")
        assert (updated["content"], updated["seq"]) == ("first", message["seq"])
        await rest[0].do("DELETE", f"/messages/{message['id']}", ann)
        deleted = await listening.expect("message_deleted")
        assert (deleted["seq"], deleted["changed_seq"]) == (message["seq"], updated["changed_seq"] + 1)
        await talking.tell("typing", {"chat_id": chat})
        assert await listening.expect("typing") == {"chat_id": chat, "user_id": ann.user_id}
        await listening.tell("read", {"chat_id": chat, "seq": message["seq"]})
        heard = await talking.expect("read")
        assert heard == {"chat_id": chat, "user_id": bob.user_id, "seq": message["seq"]}


async def test_a_logout_closes_the_tokens_sockets_everywhere_and_no_others(
    two: Two, rest: TwoRests, ann: Account
) -> None:
    again = await rest[1].login(ann)
    async with socket(two[1], ann) as ended, socket(two[1], again) as kept:
        started = time.monotonic()
        await rest[0].do("POST", "/auth/logout", ann)
        assert await ended.closed_with() == 4401
        assert time.monotonic() - started < 3
        assert (await rest[1].ask("GET", "/auth/me", ann)).status_code == 401
        await kept.tell("ping", {}, "still here")
        assert (await kept.hear())["type"] == "pong"


async def test_a_new_password_closes_the_sockets_of_all_other_tokens_everywhere(
    two: Two, rest: TwoRests, ann: Account
) -> None:
    again = await rest[1].login(ann)
    async with socket(two[0], again) as here, socket(two[1], again) as there, socket(two[1], ann) as kept:
        started = time.monotonic()
        await rest[0].do("PUT", f"/users/{ann.user_id}", ann, json={"password": f"another {PASSWORD}"})
        assert await here.closed_with() == 4401
        assert await there.closed_with() == 4401
        assert time.monotonic() - started < 3
        assert (await rest[1].ask("GET", "/auth/me", again)).status_code == 401
        await kept.tell("ping", {}, "still here")
        assert (await kept.hear())["type"] == "pong"


async def test_each_replica_tells_of_its_own_sockets(two: Two, rest: TwoRests, ann: Account, bob: Account) -> None:
    await rest[0].group(ann, bob)

    async def count(replica: ReplicaProcess) -> tuple[int, int, int]:
        async with httpx.AsyncClient(trust_env=False) as client:
            health = (await client.get(f"{replica.url}/ws/health")).json()
        numbers = health["websocket"]
        assert numbers["status"] == "healthy"
        users, rooms = numbers["connected_users"], numbers["active_rooms"]
        assert health["message"] == f"{users} users connected, {rooms} rooms active"
        return users, numbers["connections"], rooms

    async with asyncio.timeout(10):  # until the sockets of the tests before are forgotten
        while [(await count(replica))[:2] for replica in two] != [(0, 0), (0, 0)]:
            await asyncio.sleep(0.02)
    async with socket(two[0], ann), socket(two[0], ann) as second, socket(two[1], bob):
        await second.tell("ping", {})
        await second.expect("pong")
        assert (await count(two[0]))[:2] == (1, 2)
        assert (await count(two[1]))[:2] == (1, 1)
        assert (await count(two[0]))[2] >= 1


# -- either may go at any time ---------------------------------------------------------------------------------------


async def test_after_kill_9_a_client_goes_on_at_another_replica_and_misses_nothing(
    site: Replicas, two: Two, rest: TwoRests, ann: Account, bob: Account
) -> None:
    third = await asyncio.to_thread(lambda: site.start(1)[0])
    chat = await rest[0].group(ann, bob)
    heard: list[str] = []
    async with socket(third, bob) as listening:
        for number in range(20):
            await rest[0].send(ann, chat, f"number {number}")
        while len(heard) < 20:
            message = await listening.expect("message")
            heard.append(message["content"])
        position = message["seq"]
        third.kill()
        with pytest.raises(ConnectionClosed):
            await listening.hear()
    for number in range(20, 40):
        await rest[0].send(ann, chat, f"number {number}")
    async with socket(two[1], bob, "follow=none") as listening:
        replayed = await listening.join(chat, after_seq=position)
        heard += [event["payload"]["content"] for event in replayed]
        await rest[0].send(ann, chat, "live")
        heard.append((await listening.expect("message"))["content"])
    assert heard == [*(f"number {number}" for number in range(40)), "live"]


async def test_after_kill_9_the_users_of_a_replica_go_offline_but_who_is_elsewhere(
    site: Replicas, rest: TwoRests, ann: Account, bob: Account
) -> None:
    keeping = {"CHATAPP_PRESENCE__ENABLED": "true", "CHATAPP_PRESENCE__OFFLINE_AFTER_S": "3"}
    stays, dies = [site.begin(port=0, **keeping) for _ in range(2)]
    await asyncio.gather(asyncio.to_thread(stays.wait_ready), asyncio.to_thread(dies.wait_ready))
    cyd = await rest[0].register("cyd")
    await rest[0].group(ann, bob, cyd)
    heard: list[tuple[int, str]] = []
    async with socket(stays, ann) as listening, socket(stays, cyd), socket(dies, bob), socket(dies, cyd):
        while {bob.user_id, cyd.user_id} != {user for user, _ in heard}:
            event = await listening.expect("presence")
            heard.append((event["user_id"], event["status"]))
        dies.kill()
        event = await listening.expect("presence")
        heard.append((event["user_id"], event["status"]))
    assert sorted(heard) == sorted([(bob.user_id, "online"), (cyd.user_id, "online"), (bob.user_id, "offline")])


async def test_a_send_whose_ack_was_lost_with_its_replica_is_repeated_safely_at_another(
    site: Replicas, two: Two, rest: TwoRests, ann: Account, bob: Account
) -> None:
    third = await asyncio.to_thread(lambda: site.start(1)[0])
    chat = await rest[0].group(ann, bob)
    message = {"chat_id": chat, "content": "once", "nonce": "a nonce"}
    async with socket(two[1], bob) as listening, socket(third, ann) as talking:
        await talking.tell("message", message)
        first = await listening.expect("message")  # it is stored; whether the ack has left, nobody knows
        third.kill()
        async with socket(two[0], ann) as again:
            await again.tell("message", message, "again")
            ack = await again.expect("ack")
        assert (ack["message_id"], ack["seq"]) == (first["message_id"], first["seq"])
    assert [m["content"] for m in await rest[1].history(bob, chat) if m["kind"] == "text"] == ["once"]


async def test_sigterm_sends_clients_elsewhere_and_ends_in_good_order(
    site: Replicas, rest: TwoRests, ann: Account, bob: Account
) -> None:
    third = await asyncio.to_thread(lambda: site.start(1)[0])
    chat = await rest[0].group(ann, bob)
    async with socket(third, bob) as listening:
        await listening.tell("message", {"chat_id": chat, "content": "the last", "nonce": "n"})
        third.terminate()
        seen = await _until_closed(listening)
        going = [event["payload"] for event in seen if event["type"] == "going_away"]
        assert len(going) == 1
        assert 0 <= going[0]["reconnect_after_ms"] <= 15_000
        assert listening.connection.close_code == 1012
    assert await asyncio.to_thread(third.wait) == 0
    stored = [m["content"] for m in await rest[0].history(bob, chat) if m["kind"] == "text"]
    assert stored == ["the last"] or not any(event["type"] == "ack" for event in seen)
    assert "Traceback" not in third.output


async def test_a_second_sigterm_ends_a_drain_at_once(site: Replicas, ann: Account) -> None:
    third = await asyncio.to_thread(
        lambda: site.start(1, CHATAPP_DELIVERY__DRAIN_S="600", CHATAPP_LIMITS__CONNECTIONS_PER_USER="1000")[0]
    )
    # A client that takes no notice of its close frame holds a drain up.
    reader, writer = await asyncio.open_connection("127.0.0.1", third.port)
    writer.write(
        b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer " + ann.token.encode() + b"\r\n\r\n"
    )
    async with asyncio.timeout(10):
        await reader.readuntil(b'"type":"ready"')
        third.terminate()
        await reader.readuntil(b'"type":"going_away"')
    third.terminate()
    started = time.monotonic()
    assert await asyncio.to_thread(third.wait) == 0
    assert time.monotonic() - started < 4
    writer.close()
    assert "Traceback" not in third.output


# -- one host --------------------------------------------------------------------------------------------------------


async def test_workers_share_one_port_and_one_that_is_killed_is_replaced(
    site: Replicas, rest: TwoRests, ann: Account, bob: Account
) -> None:
    host = await asyncio.to_thread(lambda: site.start(1, "--workers", "2")[0])
    await asyncio.to_thread(wait_until, lambda: len(_children(host)) == 2)
    chat = await rest[0].group(ann, bob)
    before = _children(host)
    async with socket(host, bob) as listening:
        await rest[0].send(ann, chat, "through a worker")
        assert (await listening.expect("message"))["content"] == "through a worker"
    os.kill(before[0], signal.SIGKILL)
    await asyncio.to_thread(wait_until, lambda: before[0] not in (now := _children(host)) and len(now) == 2)
    await asyncio.to_thread(host.wait_ready)
    async with socket(host, bob) as listening:
        await rest[0].send(ann, chat, "still")
        assert (await listening.expect("message"))["content"] == "still"
    host.terminate()
    assert await asyncio.to_thread(host.wait) == 0
    assert "a worker ended with status -9" in host.output
    assert "Traceback" not in host.output


def test_a_port_that_is_taken_is_told_plainly(site: Replicas, two: Two) -> None:
    late = site.begin(port=two[0].port)
    assert late.wait() == 1
    assert f"port {two[0].port} cannot be used: Address already in use" in late.output
    assert two[0].is_ready()


@pytest.mark.parametrize("key", ["", "too short"])
def test_production_without_a_good_key_is_refused_by_the_keys_name(site: Replicas, key: str) -> None:
    refused = site.begin(CHATAPP_GENERAL__ENVIRONMENT="production", PASETO_KEY=key)
    assert refused.wait() == 2
    assert "auth.paseto_key" in refused.output
    assert "Traceback" not in refused.output


# -- afterwards ------------------------------------------------------------------------------------------------------


def test_nothing_of_all_this_left_a_traceback_or_a_token_in_a_log(site: Replicas, two: Two) -> None:
    assert all(replica.is_ready() for replica in two)
    assert "v4.local." not in site.output
    assert "Traceback" not in site.output


async def _until_closed(listening: Socket) -> list[Frame]:
    heard: list[Frame] = []
    try:
        while True:
            heard.append(await listening.hear())
    except ConnectionClosed:
        return heard


def _children(replica: ReplicaProcess) -> Sequence[int]:
    """The processes that serve: the resource tracker of Python's own is none of them."""
    pid = replica.process.pid
    with open(f"/proc/{pid}/task/{pid}/children") as listed:
        return [int(child) for child in listed.read().split() if _is_worker(int(child))]


def _is_worker(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as command:
            return b"spawn_main" in command.read()
    except OSError:
        return False
