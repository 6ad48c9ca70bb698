from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chatapp.app.metrics.http import CountedHttp, HttpStats
from chatapp.app.metrics.lag import WINDOW_S, LoopLag
from chatapp.gateway.passing import Passing, PostgresClock
from chatapp.protocol.events import MessagePayload, MessageSent, Typing, TypingPayload, encode_event
from chatapp.protocol.ids import ChatId, MessageId, Seq, UserId

NOW = datetime(2026, 11, 22, 12, 0, 0, 250_000, UTC)


def message(stored_at: datetime, content: str = "hello") -> bytes:
    return encode_event(
        MessageSent(
            MessagePayload(MessageId(1), content, UserId(2), "ann", ChatId(3), stored_at, seq=Seq(4), kind="text")
        )
    )


def passing(ahead_s: float = 0.0) -> Passing:
    clock = PostgresClock(NOW.timestamp)
    clock.sample(NOW.timestamp(), NOW + timedelta(seconds=ahead_s), NOW.timestamp())
    return Passing(clock)


# -- events that pass ---------------------------------------------------------------------------------------------


def test_events_are_counted_by_type_and_unknown_ones_together() -> None:
    found = passing()
    typing = encode_event(Typing(TypingPayload(ChatId(1), UserId(2))))
    found.handed_over([message(NOW), message(NOW), typing, b'{"type":"of a newer version"}', b"", b"nonsense"])
    assert {kind: count for kind, count in found.by_type.items() if count} == {b"message": 2, b"typing": 1}
    assert found.others == 3


def test_a_messages_age_is_taken_from_its_own_timestamp() -> None:
    found = passing()
    found.handed_over([message(NOW - timedelta(milliseconds=30)), message(NOW - timedelta(milliseconds=30))])
    assert found.commit_to_delivery_s.count == 2
    assert found.commit_to_delivery_s.total == pytest.approx(0.06, abs=1e-5)


def test_age_is_read_on_postgresqls_clock_and_never_below_zero() -> None:
    behind, ahead = passing(ahead_s=-5), passing(ahead_s=2)
    for found in (behind, ahead):
        found.handed_over([message(NOW)])
    assert behind.commit_to_delivery_s.total == 0
    assert ahead.commit_to_delivery_s.total == pytest.approx(2, abs=1e-5)


@pytest.mark.parametrize("content", [',"timestamp":"1970-01-01T00:00:00Z"', "x" * 16000])
def test_what_a_message_says_does_not_change_its_age(content: str) -> None:
    found = passing()
    found.handed_over([message(NOW - timedelta(seconds=1), content)])
    assert found.commit_to_delivery_s.total == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("tail", [b'"timestamp":"', b'"timestamp":"yesterday"', b'"timestamp":"\xff"', b""])
def test_a_forged_frame_is_counted_without_an_age(tail: bytes) -> None:
    found = passing()
    found.handed_over([b'{"type":"message","payload":{' + tail])
    assert (found.by_type[b"message"], found.commit_to_delivery_s.count) == (1, 0)


def test_the_sample_with_the_shortest_round_trip_tells_postgresqls_clock() -> None:
    clock = PostgresClock(lambda: 100.0)
    zero = datetime.fromtimestamp(0, UTC)
    clock.sample(10, zero + timedelta(seconds=18), 20)
    assert clock.ahead_s == pytest.approx(3)
    clock.sample(30, zero + timedelta(seconds=31.5), 30.01)
    assert clock.now() == pytest.approx(101.495)
    for _ in range(20):  # older samples are forgotten: clocks are set
        clock.sample(40, zero + timedelta(seconds=47), 44)
    assert clock.ahead_s == pytest.approx(5)


# -- the loop -----------------------------------------------------------------------------------------------------


def test_the_worst_lag_is_remembered_for_one_window_and_then_forgotten() -> None:
    lag = LoopLag()
    lag.observe(0.7, 100)
    lag.observe(0.1, 101)
    assert lag.worst_s == 0.7
    lag.observe(0.2, 100 + WINDOW_S)
    assert lag.worst_s == 0.7
    lag.observe(0.01, 100 + 2 * WINDOW_S)
    assert lag.worst_s == 0.2
    assert lag.late_s.count == 4


# -- HTTP ---------------------------------------------------------------------------------------------------------


async def request(stats: HttpStats, method: str, path: str, template: str | None, status: int | None) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert stats.in_flight == 1
        if template is not None:
            scope["path_template"] = template
        if status is None:
            raise ConnectionError
        await send({"type": "http.response.start", "status": status})
        await send({"type": "http.response.body"})

    async def nothing(*_: Any) -> Any:
        return {}

    await CountedHttp(app, stats)({"type": "http", "method": method, "path": path}, nothing, nothing)


async def test_requests_are_counted_by_route_and_not_by_address() -> None:
    stats = HttpStats()
    await request(stats, "GET", "/users/1", "/users/{user_id:int}", 200)
    await request(stats, "GET", "/users/2", "/users/{user_id:int}", 200)
    await request(stats, "GET", "/users/3", "/users/{user_id:int}", 404)
    assert stats.answered == {
        ("/users/{user_id:int}", "GET", 200): 2,
        ("/users/{user_id:int}", "GET", 404): 1,
    }
    assert stats.duration_s["/users/{user_id:int}", "GET"].count == 3


async def test_strangers_make_no_new_series() -> None:
    stats = HttpStats()
    for number in range(50):
        await request(stats, f"BREW{number}", f"/wp-admin/{number}", None, 404)
    assert stats.answered == {("none", "other", 404): 50}


async def test_a_request_that_broke_is_counted_too() -> None:
    stats = HttpStats()
    with pytest.raises(ConnectionError):
        await request(stats, "POST", "/messages", "/messages", None)
    assert (stats.answered, stats.in_flight) == ({("/messages", "POST", 499): 1}, 0)
