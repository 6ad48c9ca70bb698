"""A long replay while the chat is at full speed: everything once, ascending, then live."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence

import pytest

from tests.acceptance.client import Account, Rest, rests, socket
from tests.acceptance.replicas import ReplicaProcess, Replicas

pytestmark = [pytest.mark.alone, pytest.mark.timeout(120)]

BEFORE = 10_000
MEANWHILE = 2_500
PER_SECOND = 500


@pytest.fixture(scope="module")
def two(site: Replicas) -> Sequence[ReplicaProcess]:
    return site.start(2, CHATAPP_DELIVERY__REPLAY_LIMIT="20000", CHATAPP_RATE_LIMITS__ENABLED="false")


@pytest.fixture
async def rest(two: Sequence[ReplicaProcess]) -> AsyncIterator[Rest]:
    async with rests(two[0]) as (one,):
        yield one


async def test_ten_thousand_messages_are_replayed_while_five_hundred_a_second_arrive(
    two: Sequence[ReplicaProcess], rest: Rest
) -> None:
    ann, bob = await rest.register("ann"), await rest.register("bob")
    chat = await rest.group(ann, bob)
    await _send(two[0], ann, chat, BEFORE, per_second=None)
    writing = asyncio.create_task(_send(two[0], ann, chat, MEANWHILE, PER_SECOND))
    try:
        for replica in two:  # where the messages are written, and elsewhere
            async with socket(replica, bob, "follow=none") as listening:
                await listening.tell("join_chat", {"chat_id": chat, "after_seq": 0}, "join")
                seen: list[int] = []
                acked: list[int] = []
                until = BEFORE + MEANWHILE // 4
                while not acked or seen[-1] < until:
                    event = await listening.hear()
                    if event["type"] == "message":
                        seen.append(event["payload"]["seq"])
                    elif event["type"] == "ack":
                        acked.append(event["payload"]["seq"])
                        assert seen[-1] == acked[0] >= BEFORE
                        until = max(until, acked[0] + 100)
                assert seen == list(range(1, len(seen) + 1))
    finally:
        await writing


async def _send(replica: ReplicaProcess, sender: Account, chat: int, count: int, per_second: int | None) -> None:
    """Send so many, each acked, at this rate or as fast as they are acked."""
    async with socket(replica, sender, "follow=none") as speaking:

        async def acks() -> None:
            for _ in range(count):
                event = await speaking.hear()
                assert event["type"] == "ack", event

        hearing = asyncio.create_task(acks())
        began = time.perf_counter()
        for number in range(count):
            if per_second is not None and (ahead := number / per_second - (time.perf_counter() - began)) > 0:
                await asyncio.sleep(ahead)
            await speaking.connection.send(
                json.dumps({"type": "message", "payload": {"chat_id": chat, "content": f"number {number}"}})
            )
        await hearing
