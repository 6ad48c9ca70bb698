"""With nothing configured, replicas that are started in one directory share servers of their own."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from tests.acceptance.client import rests, socket
from tests.acceptance.own_site import SERVERS, OwnSite
from tests.acceptance.replicas import ReplicaProcess

pytestmark = [pytest.mark.alone, pytest.mark.timeout(120)]


async def test_replicas_come_and_go_in_one_directory_and_the_last_one_out_stops_the_servers(own_site: OwnSite) -> None:
    first, second = own_site.begin(), own_site.begin()  # at the same moment, in an empty directory
    for replica in (first, second):
        await asyncio.to_thread(replica.wait_ready)
    assert own_site.running() == list(SERVERS)
    await _both_say_hello(first, second)

    async with rests(first, second) as (at_first, at_second):
        ann, bob = await at_first.register("ann"), await at_second.register("bob")
        chat = await at_first.group(ann, bob)
        # A token in the address is the easiest to leak into a log.
        async with (
            socket(first, ann, f"token={ann.token}", additional_headers={}) as at_ann,
            socket(second, bob, f"token={bob.token}", additional_headers={}) as at_bob,
        ):
            await at_ann.tell("message", {"chat_id": chat, "content": "to the second"})
            assert (await at_bob.expect("message"))["content"] == "to the second"
            await at_bob.tell("message", {"chat_id": chat, "content": "to the first"})
            heard = await at_ann.expect("message", lambda payload: payload["sender_id"] == bob.user_id)
            assert heard["content"] == "to the first"

            first.kill()
            assert own_site.running() == list(SERVERS)
            third = await asyncio.to_thread(own_site.begin().wait_ready)
            async with socket(third, ann, f"token={ann.token}&follow=none", additional_headers={}) as again:
                replayed = await again.join(chat, after_seq=heard["seq"])
                assert replayed == []
                await at_bob.tell("message", {"chat_id": chat, "content": "to the third"})
                assert (await again.expect("message"))["content"] == "to the third"

        # An address that is no socket's must not get into a log with its token either.
        assert httpx.get(f"{second.url}/ws?token={ann.token}", trust_env=False).status_code == 404

    second.terminate()
    assert await asyncio.to_thread(second.wait) == 0
    assert own_site.running() == list(SERVERS)
    third.terminate()
    assert await asyncio.to_thread(third.wait) == 0
    assert own_site.running() == []

    logs = own_site.logs()
    assert "v4.local." not in logs
    assert "Traceback" not in logs


async def test_the_data_and_the_tokens_are_there_after_a_stop(own_site: OwnSite) -> None:
    replica = await asyncio.to_thread(own_site.begin().wait_ready)
    async with rests(replica) as (rest,):
        ann = await rest.register("ann")
        chat = await rest.group(ann)
        await rest.send(ann, chat, "kept")
    replica.terminate()
    assert await asyncio.to_thread(replica.wait) == 0
    assert own_site.running() == []
    replica = await asyncio.to_thread(own_site.begin().wait_ready)
    async with rests(replica) as (rest,):
        assert [m["content"] for m in await rest.history(ann, chat) if m["kind"] == "text"] == ["kept"]
    replica.terminate()
    assert await asyncio.to_thread(replica.wait) == 0


async def _both_say_hello(*replicas: ReplicaProcess) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        for replica in replicas:
            health = await client.get(f"{replica.url}/health")
            assert health.status_code == 200
            assert health.json() == {
                "status": "ok",
                "timestamp": health.json()["timestamp"],
                "service": "chat-app-backend",
            }
