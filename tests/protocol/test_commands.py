from __future__ import annotations

import contextlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from chatapp.errors import Malformed
from chatapp.protocol.commands import (
    AskPresence,
    Command,
    DeleteMessage,
    EditMessage,
    JoinChat,
    LeaveChat,
    MarkRead,
    Ping,
    Resume,
    SendMessage,
    TypingNow,
    is_known_type,
    parse,
    reference,
)

VALID: list[tuple[str, dict[str, Any], type[Command]]] = [
    ("message", {"chat_id": 1, "content": "hi", "nonce": "n"}, SendMessage),
    ("join_chat", {"chat_id": 1, "after_seq": 0}, JoinChat),
    ("leave_chat", {"chat_id": 1}, LeaveChat),
    ("edit_message", {"message_id": 1, "content": "hi"}, EditMessage),
    ("delete_message", {"message_id": 1}, DeleteMessage),
    ("typing", {"chat_id": 1}, TypingNow),
    ("read", {"chat_id": 1, "seq": 0}, MarkRead),
    ("resume", {"positions": {"1": 0}}, Resume),
    ("presence", {"user_ids": [1, 2]}, AskPresence),
    ("ping", {}, Ping),
]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def message(payload: str, rest: str = "") -> bytes:
    return f'{{"type":"message","payload":{payload}{rest}}}'.encode()


@pytest.mark.parametrize(("kind", "payload", "expected"), VALID, ids=[kind for kind, _, _ in VALID])
def test_each_command_is_read_as_its_own_type(kind: str, payload: dict[str, Any], expected: type[Command]) -> None:
    command = parse(json.dumps({"type": kind, "id": 7, "payload": payload}).encode())
    assert type(command) is expected
    assert command.id == 7
    assert is_known_type(json.dumps({"type": kind}).encode())


def test_what_is_optional_may_be_left_out() -> None:
    assert parse(b'{"type":"ping"}') == Ping()
    sent = parse(message('{"chat_id":1,"content":"x"}'))
    assert isinstance(sent, SendMessage)
    assert sent.payload.nonce is None
    assert sent.id is UNSET


def test_the_order_of_keys_and_unknown_ones_do_not_matter() -> None:
    text = b'{"x":{"a":[1]},"id":"r","payload":{"content":"x","extra":null,"chat_id":1},"type":"message"}'
    assert isinstance(parse(text), SendMessage)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"garbage",
        b'{"type":"ping"',
        b'{"type":"ping"} x',
        b'{"type":"ping","id":NaN}',
        b'{"type":"ping","id":"\xff"}',
        b'\xef\xbb\xbf{"type":"ping"}',
        rb'{"type":"message","payload":{"chat_id":1,"content":"\ud800"}}',
        rb'{"type":"ping","id":"\udc00"}',
        b'{"type":"ping","x":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
        b'{"type":"ping","x":' + b'{"a":' * 20_000 + b"1" + b"}" * 20_001,
    ],
    ids=lambda text: repr(text[:40]),
)
def test_what_is_not_json_is_malformed(text: bytes) -> None:
    with pytest.raises(Malformed):
        parse(text)


@pytest.mark.parametrize(
    "text",
    [
        b'{"type":"ping","id":1,"id":2}',
        b'{"type":"ping","type":"ping"}',
        message('{"chat_id":1,"chat_id":2,"content":"x"}'),
        message('{"chat_id":1,"content":"x","content":"y"}'),
        message('{"chat_id":1,"content":"x"}', ',"payload":{"chat_id":2,"content":"x"}'),
        message(r'{"chat_id":1,"content":"x","\u0063ontent":"y"}'),
        rb'{"type":"ping","id":1,"\u0069d":2}',
        b'{"type":"read","payload":{"chat_id":1,"seq":1,"seq":2}}',
    ],
)
def test_a_key_that_is_given_twice_is_malformed(text: bytes) -> None:
    with pytest.raises(Malformed, match="twice"):
        parse(text)


def test_a_content_may_speak_of_keys() -> None:
    content = '{"content": "content", "id": 1, "id": 2} \\u0069d'
    text = json.dumps({"type": "message", "payload": {"chat_id": 1, "content": content}}).encode()
    command = parse(text)
    assert isinstance(command, SendMessage)
    assert command.payload.content == content


@pytest.mark.parametrize(
    "text",
    [
        b"[]",
        b"null",
        b'"ping"',
        b"{}",
        b'{"type":"nope"}',
        b'{"type":[]}',
        b'{"type":{"a":1}}',
        b'{"type":null}',
        b'{"type":"PING"}',
        b'{"type":"ping","payload":null}',
        b'{"type":"ping","id":1.5}',
        b'{"type":"ping","id":null}',
        b'{"type":"ping","id":true}',
        b'{"type":"ping","id":{}}',
        b'{"type":"ping","id":1e400}',
        b'{"type":"ping","id":9007199254740993}',
        b'{"type":"ping","id":"%s"}' % (b"x" * 65),
        message("{}"),
        message('{"chat_id":0,"content":"x"}'),
        message('{"chat_id":-1,"content":"x"}'),
        message('{"chat_id":9223372036854775808,"content":"x"}'),
        message('{"chat_id":%s,"content":"x"}' % ("9" * 400)),
        message('{"chat_id":1e3,"content":"x"}'),
        message('{"chat_id":"1","content":"x"}'),
        message('{"chat_id":true,"content":"x"}'),
        message('{"chat_id":1,"content":null}'),
        message('{"chat_id":1,"content":"x","nonce":""}'),
        message('{"chat_id":1,"content":"x","nonce":"%s"}' % ("n" * 65)),
        b'{"type":"join_chat","payload":{"chat_id":1,"after_seq":-1}}',
        b'{"type":"resume","payload":{"positions":{"x":1}}}',
        b'{"type":"resume","payload":{"positions":{"0":1}}}',
        b'{"type":"resume","payload":{"positions":{"1":-1}}}',
    ],
    ids=lambda text: text[:50].decode(),
)
def test_what_is_no_command_does_not_validate(text: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        parse(text)


def test_a_resume_is_of_500_chats_at_most() -> None:
    positions = {str(chat): 1 for chat in range(1, 502)}
    with pytest.raises(msgspec.ValidationError):
        parse(json.dumps({"type": "resume", "payload": {"positions": positions}}).encode())
    del positions["501"]
    assert isinstance(parse(json.dumps({"type": "resume", "payload": {"positions": positions}}).encode()), Resume)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'{"id":"a","type":"nope"}', "a"),
        (b'{"id":-5}', -5),
        (b'{"id":9007199254740992}', 2**53),
        (b'{"id":9007199254740993}', UNSET),
        (b'{"id":true}', UNSET),
        (b'{"id":1.5}', UNSET),
        (b'{"id":null}', UNSET),
        (b'{"id":[1]}', UNSET),
        (b'{"id":"%s"}' % (b"x" * 65), UNSET),
        (b"[1]", UNSET),
        (b"no json", UNSET),
    ],
)
def test_the_id_of_what_is_refused_comes_back_where_it_is_usable(text: bytes, expected: object) -> None:
    assert reference(text) == expected


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(text: bytes) -> None:
    _read(text)


@given(st.dictionaries(st.sampled_from(["type", "payload", "id", "x"]), json_values))
def test_no_json_raises_anything_else(frame: dict[str, Any]) -> None:
    _read(json.dumps(frame).encode())


@given(st.sampled_from(VALID), st.dictionaries(st.sampled_from(["chat_id", "content", "seq", "nonce"]), json_values))
def test_no_payload_raises_anything_else(valid: tuple[str, dict[str, Any], type[Command]], odd: dict[str, Any]) -> None:
    kind, payload, _ = valid
    _read(json.dumps({"type": kind, "payload": payload | odd}).encode())


def _read(text: bytes) -> None:
    with contextlib.suppress(Malformed, msgspec.ValidationError):
        parse(text)
    ref = reference(text)
    assert ref is UNSET or isinstance(ref, str | int)
    assert is_known_type(text) in (True, False)
