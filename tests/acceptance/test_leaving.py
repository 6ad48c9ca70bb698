"""Behind the load balancer nobody is refused while replicas leave: the port is given up when nothing comes any more."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from collections import Counter
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from tests import haproxy
from tests.acceptance.client import Account, Frame, rests, socket
from tests.acceptance.replicas import Replicas, wait_until

pytestmark = pytest.mark.alone

SENDERS = 24
TIMES = 2


async def test_a_lame_duck_is_not_ready_takes_no_socket_and_serves_all_else(site: Replicas) -> None:
    (leaving,) = await asyncio.to_thread(site.start, 1)
    async with rests(leaving) as (rest,):
        ann = await rest.register("ann")
        chat = await rest.group(ann)
        async with socket(leaving, ann) as listening:
            leaving.terminate()
            await asyncio.to_thread(wait_until, lambda: not leaving.is_ready())
            refused = await rest.ask("GET", f"{leaving.url}/health/ready")
            assert (refused.status_code, refused.json()["status"]) == (503, "draining")
            with pytest.raises(InvalidStatus) as refusal:
                async with socket(leaving, ann):
                    pass
            assert refusal.value.response.status_code == 503
            assert json.loads(refusal.value.response.body or b"")["code"] == "draining"
            sent = await rest.send(ann, chat, "served")
            assert (await listening.expect("message"))["seq"] == sent["seq"]
            await listening.expect("going_away")
        assert await asyncio.to_thread(leaving.wait) == 0


async def test_ctrl_c_waits_for_no_load_balancer(site: Replicas) -> None:
    (leaving,) = await asyncio.to_thread(site.start, 1, CHATAPP_DELIVERY__LAME_DUCK_S="300")
    leaving.process.send_signal(signal.SIGINT)
    assert await asyncio.to_thread(leaving.wait) == 0


async def test_a_second_sigterm_ends_the_lame_duck(site: Replicas) -> None:
    (leaving,) = await asyncio.to_thread(site.start, 1, CHATAPP_DELIVERY__LAME_DUCK_S="300")
    leaving.terminate()
    await asyncio.to_thread(wait_until, lambda: not leaving.is_ready())
    leaving.terminate()
    assert await asyncio.to_thread(leaving.wait) == 0


@pytest.mark.skipif(not haproxy.is_there(), reason="needs haproxy, or its image and Docker")
async def test_no_request_is_refused_while_replicas_leave(site: Replicas, tmp_path: Path) -> None:
    staying, *leaving = await asyncio.to_thread(site.start, 1 + TIMES)
    answered: Counter[int | str] = Counter()
    stop = asyncio.Event()
    ports = [staying.port, *(replica.port for replica in leaving)]
    async with rests(staying) as (rest,), haproxy.in_front_of(*ports, directory=tmp_path) as front:
        ann = await rest.register("ann")
        chat = await rest.group(ann)
        async with asyncio.TaskGroup() as senders:
            for _ in range(SENDERS):
                senders.create_task(_send(f"http://127.0.0.1:{front}/api/v1/messages", ann, chat, answered, stop))
            await asyncio.sleep(3)  # until each has answered its checks
            for replica in leaving:
                replica.terminate()
                assert await asyncio.to_thread(replica.wait) == 0
            stop.set()
        assert set(answered) == {201}
        # Seldom is a request caught by a port that closes, so look also at how each was found: not ready, but open.
        found = re.findall(
            r"server ready/(\S+) failed, reason: ([^,]+),.* 0/1 DOWN", (tmp_path / "haproxy.log").read_text()
        )
        assert [dict(reversed(found))[f"api-{at}"] for at in range(2, 2 + TIMES)] == ["Layer7 wrong status"] * TIMES
        told = [message for message in await rest.history(ann, chat) if message["kind"] == "text"]
        assert len(told) == answered[201]


async def _send(url: str, sender: Account, chat: int, answered: Counter[int | str], stop: asyncio.Event) -> None:
    """Messages one after the other, each over a connection of its own, none repeated."""
    while not stop.is_set():
        body: Frame = {"chat_id": chat, "content": "on and on"}
        headers = {"Authorization": f"Bearer {sender.token}"}
        async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
            try:
                response = await client.post(url, json=body, headers=headers)
            except httpx.TransportError as error:
                answered[repr(error)] += 1
            else:
                answered[response.status_code] += 1
