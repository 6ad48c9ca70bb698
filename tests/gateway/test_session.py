from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from chatapp.errors import (
    FieldProblem,
    NonceReused,
    NotAMember,
    Overloaded,
    RateLimited,
    ValidationFailed,
)
from chatapp.gateway.session import (
    ERRORS_BEFORE_CLOSE,
    LIMITED_BEFORE_CLOSE,
    MALFORMED_BEFORE_CLOSE,
    TYPING_INTERVAL_S,
    Close,
    Do,
    Effect,
    Reply,
    Session,
    error_event,
)
from chatapp.protocol.codes import CloseCode
from chatapp.protocol.commands import SendMessage, TypingNow
from chatapp.protocol.events import Error, Pong

UNKNOWN = b'{"type":"nope"}'
PING = b'{"type":"ping"}'


def frame(kind: str, payload: object = None, **rest: object) -> bytes:
    return json.dumps({"type": kind, "payload": {} if payload is None else payload, **rest}).encode()


def error_of(effects: list[Effect]) -> Error:
    reply = effects[0]
    assert isinstance(reply, Reply)
    assert isinstance(reply.event, Error)
    return reply.event


def close_of(effects: list[Effect]) -> CloseCode | None:
    last = effects[-1]
    return last.code if isinstance(last, Close) else None


def test_a_command_is_to_be_done() -> None:
    (effect,) = Session().receive(frame("message", {"chat_id": 1, "content": "x"}), 0.0)
    assert isinstance(effect, Do)
    assert isinstance(effect.command, SendMessage)


def test_a_ping_is_answered_with_its_id() -> None:
    assert Session().receive(frame("ping", id="p"), 0.0) == [Reply(Pong(id="p"))]


@pytest.mark.parametrize(
    ("text", "code", "messages"),
    [
        (b"garbage", "malformed", None),
        (UNKNOWN, "unknown_type", None),
        (b"[]", "validation_failed", [("frame", "type", "object")]),
        (b'{"type":[]}', "unknown_type", None),
        (b'{"type":{}}', "unknown_type", None),
        (b"{}", "unknown_type", None),
        (b'{"type":"message"}', "validation_failed", [("payload", "required", "")]),
        (frame("message", {"content": "x"}), "validation_failed", [("chat_id", "required", "")]),
        (frame("message", {"chat_id": 0, "content": "x"}), "validation_failed", [("chat_id", "min", "1")]),
        (frame("message", {"chat_id": "1", "content": "x"}), "validation_failed", [("chat_id", "type", "int")]),
        (frame("message", {"chat_id": 1, "content": 5}), "validation_failed", [("content", "type", "str")]),
        (frame("message", 5), "validation_failed", [("payload", "type", "object")]),
        (
            frame("message", {"chat_id": 1, "content": "x", "nonce": "n" * 65}),
            "validation_failed",
            [("nonce", "max", "64")],
        ),
        (frame("message", {"chat_id": 1, "content": "x", "nonce": ""}), "validation_failed", [("nonce", "min", "1")]),
        (frame("read", {"chat_id": 1, "seq": -1}), "validation_failed", [("seq", "min", "0")]),
        (frame("ping", id=True), "validation_failed", [("id", "type", "int | str")]),
    ],
)
def test_a_refusal_says_what_is_wrong(text: bytes, code: str, messages: list[tuple[str, str, str]] | None) -> None:
    error = error_of(Session().receive(text, 0.0))
    assert error.payload.code == code
    told = error.payload.messages
    assert (None if told is None else [(m.field, m.tag, m.value) for m in told]) == messages
    assert "$" not in error.payload.error


def test_a_refusal_carries_the_id() -> None:
    assert error_of(Session().receive(frame("nope", id=7), 0.0)).id == 7
    assert error_of(Session().receive(frame("message", {}, id="a"), 0.0)).id == "a"
    assert error_of(Session().receive(frame("message", {}, id=[1]), 0.0)).id is UNSET


def test_frames_that_are_not_json_end_the_connection_soon() -> None:
    session = Session()
    for _ in range(MALFORMED_BEFORE_CLOSE - 1):
        assert close_of(session.receive(b"garbage", 0.0)) is None
    assert close_of(session.receive(b"garbage", 0.0)) is CloseCode.MALFORMED


def test_nothing_but_errors_ends_the_connection() -> None:
    session = Session()
    for _ in range(ERRORS_BEFORE_CLOSE - 1):
        assert close_of(session.receive(UNKNOWN, 0.0)) is None
    assert close_of(session.receive(UNKNOWN, 0.0)) is CloseCode.TOO_MANY_ERRORS


def test_malformed_frames_are_counted_in_a_row() -> None:
    session = Session()
    for _ in range(4):
        assert close_of(session.receive(b"garbage", 0.0)) is None
        assert close_of(session.receive(b"garbage", 0.0)) is None
        assert close_of(session.receive(UNKNOWN, 0.0)) is None


def test_a_valid_command_makes_good_for_errors() -> None:
    session = Session()
    for _ in range(5 * ERRORS_BEFORE_CLOSE):
        for _ in range(ERRORS_BEFORE_CLOSE - 1):
            assert close_of(session.receive(UNKNOWN, 0.0)) is None
        session.receive(PING, 0.0)


def test_typing_is_swallowed_when_it_comes_too_often() -> None:
    session = Session()

    def types(chat_id: int, now: float) -> bool:
        effects = session.receive(frame("typing", {"chat_id": chat_id}), now)
        assert all(isinstance(e, Do) and isinstance(e.command, TypingNow) for e in effects)
        return bool(effects)

    assert types(1, 100.0)
    assert not types(1, 100.0 + TYPING_INTERVAL_S - 0.01)
    assert types(2, 100.1)
    assert types(1, 100.0 + TYPING_INTERVAL_S)
    assert not types(1, 101.0 + TYPING_INTERVAL_S)


def test_typing_in_many_chats_does_not_take_ever_more_memory() -> None:
    session = Session()
    for chat_id in range(1, 1000):
        session.receive(frame("typing", {"chat_id": chat_id}), 0.0)
    assert session._typing is not None
    assert len(session._typing) <= 101


def test_errors_are_translated_for_clients() -> None:
    problem = FieldProblem("content", "required")
    assert error_event(ValidationFailed([problem])).payload.messages == [problem]
    assert error_event(RateLimited(2.5)).payload.retry_after == 2.5
    assert error_event(Overloaded()).payload.retry_after == 1.0
    assert error_event(NotAMember()).payload.code == "not_a_member"
    assert error_event(NonceReused()).payload.code == "nonce_reused"
    assert error_event(NotAMember(), "r").id == "r"


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=8), inner, max_size=2),
    max_leaves=5,
)


@given(
    st.lists(
        st.binary(max_size=60)
        | st.dictionaries(st.sampled_from(["type", "payload", "id"]), json_values).map(
            lambda v: json.dumps(v).encode()
        ),
        max_size=30,
    )
)
def test_no_frames_raise(texts: list[bytes]) -> None:
    session = Session()
    for text in texts:
        session.receive(text, 0.0)


class Slow:
    """Lets nobody do anything for a while."""

    def __init__(self) -> None:
        self.counted: list[str] = []
        self.closed = 0

    def wait_s(self, kind: str, user_id: int) -> float:
        self.counted.append(kind)
        return 1.2345

    def closed_a_socket(self) -> None:
        self.closed += 1


def test_a_command_that_comes_too_soon_is_refused_under_its_id_with_the_time_to_wait() -> None:
    pace = Slow()
    (effect,) = Session(pace, 7).receive(frame("message", {"chat_id": 1, "content": "x"}, id="m"), 0.0)
    error = error_of([effect])
    assert (error.id, error.payload.code, error.payload.retry_after) == ("m", "rate_limited", 1.235)
    assert pace.counted == ["send"]


def test_who_goes_on_for_a_while_is_closed_and_who_does_so_now_and_then_is_not() -> None:
    pace = Slow()
    session = Session(pace)
    for second in range(2 * LIMITED_BEFORE_CLOSE):
        assert close_of(session.receive(PING, second)) is None
    now = 10_000.0
    for _ in range(LIMITED_BEFORE_CLOSE - 1):
        assert close_of(session.receive(PING, now)) is None
    assert close_of(session.receive(PING, now)) is CloseCode.TOO_MANY_ERRORS
    assert pace.closed == 1
