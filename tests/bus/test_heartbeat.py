"""The heartbeat tells a living way from a dead one, in beats."""

from __future__ import annotations

import asyncio

import pytest

from chatapp.bus.heartbeat import Heartbeat


def test_a_way_is_dead_after_so_many_beats_without_an_echo() -> None:
    heartbeat = Heartbeat(missed_limit=3)
    heartbeat.came_back(heartbeat.next_beat())
    assert heartbeat.alive
    assert [heartbeat.tick() for _ in range(3)] == [False, False, True]
    assert not heartbeat.alive


def test_each_echo_counts_anew() -> None:
    heartbeat = Heartbeat(missed_limit=2)
    for _ in range(5):
        assert not heartbeat.tick()
        heartbeat.came_back(heartbeat.next_beat())
        assert heartbeat.alive


@pytest.mark.parametrize("payload", [b"", b"x", b"2", b"9" * 5_000])
def test_what_is_no_beat_of_ours_is_ignored(payload: bytes) -> None:
    heartbeat = Heartbeat(missed_limit=2)
    heartbeat.next_beat()
    heartbeat.came_back(payload)
    assert not heartbeat.alive


async def test_waiting_ends_with_the_latest_beat_or_a_later_one() -> None:
    heartbeat = Heartbeat(missed_limit=2)
    old = heartbeat.next_beat()
    heartbeat.next_beat()
    waiting = asyncio.ensure_future(heartbeat.wait_for_latest())
    await asyncio.sleep(0)
    heartbeat.came_back(old)
    await asyncio.sleep(0)
    assert not waiting.done()
    heartbeat.came_back(heartbeat.next_beat())
    await asyncio.wait_for(waiting, 1)
