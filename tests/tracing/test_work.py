from __future__ import annotations

import asyncio
from collections.abc import Mapping

from chatapp.tracing.work import current_ids, current_span, doing


async def test_ids_are_there_within_and_gone_after() -> None:
    with doing({"request_id": "r1"}):
        with doing({"connection_id": "c1"}):
            assert current_ids() == {"request_id": "r1", "connection_id": "c1"}
        assert current_ids() == {"request_id": "r1"}
    assert current_ids() == {}
    assert current_span() is None


async def test_a_task_that_was_started_meanwhile_carries_no_id_of_its_starter() -> None:
    seen: list[Mapping[str, str]] = []

    async def shared() -> None:
        seen.append(current_ids())

    with doing({"request_id": "r1"}):
        await asyncio.create_task(shared())
    assert seen == [{}]


async def test_a_callback_carries_no_id_of_who_asked_for_it() -> None:
    called: asyncio.Future[Mapping[str, str]] = asyncio.get_running_loop().create_future()
    with doing({"request_id": "r1"}):
        asyncio.get_running_loop().call_soon(lambda: called.set_result(current_ids()))
        assert await called == {}


async def test_a_thread_carries_no_id() -> None:
    with doing({"request_id": "r1"}):
        assert await asyncio.to_thread(current_ids) == {}


async def test_two_tasks_keep_their_ids_apart() -> None:
    async def request(name: str) -> None:
        with doing({"request_id": name}):
            for _ in range(3):
                await asyncio.sleep(0)
                assert current_ids() == {"request_id": name}

    await asyncio.gather(*(request(f"r{number}") for number in range(5)))
