"""The shapes of what the server says, field by field: clients are written against these."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from chatapp.errors import FieldProblem
from chatapp.protocol import events
from chatapp.protocol.ids import ChatId, ConnectionId, MessageId, Seq, UserId
from chatapp.protocol.views import Chat

AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
TIME = "2026-01-02T03:04:05.678901Z"
CHAT, USER, MESSAGE, SEQ = ChatId(1), UserId(2), MessageId(3), Seq(4)

SHAPES: list[tuple[events.ServerEvent, str, dict[str, Any]]] = [
    (
        events.Ready(
            events.ReadyPayload(USER, ConnectionId("c"), AT, 25, "e", [events.ChatPosition(CHAT, SEQ, Seq(0))])
        ),
        "ready",
        {
            "user_id": 2,
            "connection_id": "c",
            "server_time": TIME,
            "heartbeat_s": 25,
            "epoch": "e",
            "chats": [{"chat_id": 1, "last_seq": 4, "last_read_seq": 0}],
        },
    ),
    (
        events.MessageSent(events.MessagePayload(MESSAGE, "hi", USER, "ada", CHAT, AT, SEQ, "text")),
        "message",
        {
            "message_id": 3,
            "content": "hi",
            "sender_id": 2,
            "username": "ada",
            "chat_id": 1,
            "timestamp": TIME,
            "seq": 4,
            "kind": "text",
        },
    ),
    (
        events.MessageSent(events.MessagePayload(MESSAGE, "hi", None, "", CHAT, AT, SEQ, "text")),
        "message",
        {
            "message_id": 3,
            "content": "hi",
            "sender_id": None,
            "username": "",
            "chat_id": 1,
            "timestamp": TIME,
            "seq": 4,
            "kind": "text",
        },
    ),
    (
        events.MessageUpdated(events.MessageUpdatedPayload(MESSAGE, CHAT, "new", SEQ, Seq(5), AT)),
        "message_updated",
        {"message_id": 3, "chat_id": 1, "content": "new", "seq": 4, "changed_seq": 5, "updated_at": TIME},
    ),
    (
        events.MessageDeleted(events.MessageDeletedPayload(MESSAGE, CHAT, SEQ, Seq(5))),
        "message_deleted",
        {"message_id": 3, "chat_id": 1, "seq": 4, "changed_seq": 5},
    ),
    (events.System(events.SystemPayload(CHAT, "ada left")), "system", {"chat_id": 1, "message": "ada left"}),
    (
        events.System(events.SystemPayload(CHAT, "ada left", SEQ)),
        "system",
        {"chat_id": 1, "message": "ada left", "seq": 4},
    ),
    (
        events.NewChat(Chat(CHAT, "room", True, USER, AT, AT, Seq(0))),
        "new_chat",
        {
            "id": 1,
            "name": "room",
            "is_group": True,
            "creator_id": 2,
            "created_at": TIME,
            "updated_at": TIME,
            "last_seq": 0,
        },
    ),
    (
        events.ChatUpdated(events.ChatUpdatedPayload(CHAT, SEQ, AT, name="new")),
        "chat_updated",
        {"chat_id": 1, "seq": 4, "updated_at": TIME, "name": "new"},
    ),
    (
        events.ChatUpdated(events.ChatUpdatedPayload(CHAT, SEQ, AT, user_id=USER, is_admin=False)),
        "chat_updated",
        {"chat_id": 1, "seq": 4, "updated_at": TIME, "user_id": 2, "is_admin": False},
    ),
    (events.ChatDeleted(events.ChatDeletedPayload(CHAT)), "chat_deleted", {"chat_id": 1}),
    (
        events.MemberAdded(events.MemberChangedPayload(CHAT, USER, "ada", SEQ)),
        "member_added",
        {"chat_id": 1, "user_id": 2, "username": "ada", "seq": 4},
    ),
    (
        events.MemberRemoved(events.MemberChangedPayload(CHAT, USER, "ada", SEQ)),
        "member_removed",
        {"chat_id": 1, "user_id": 2, "username": "ada", "seq": 4},
    ),
    (events.Typing(events.TypingPayload(CHAT, USER)), "typing", {"chat_id": 1, "user_id": 2}),
    (events.Read(events.ReadPayload(CHAT, USER, SEQ)), "read", {"chat_id": 1, "user_id": 2, "seq": 4}),
    (events.Presence(events.PresencePayload(USER, "online")), "presence", {"user_id": 2, "status": "online"}),
    (
        events.Presence(events.PresencePayload(USER, "offline", AT)),
        "presence",
        {"user_id": 2, "status": "offline", "last_seen": TIME},
    ),
    (events.Ack(events.AckPayload("ping")), "ack", {"type": "ping"}),
    (
        events.Ack(events.AckPayload("message", CHAT, MESSAGE, SEQ, AT, "n")),
        "ack",
        {"type": "message", "chat_id": 1, "message_id": 3, "seq": 4, "timestamp": TIME, "nonce": "n"},
    ),
    (events.Ack(events.AckPayload("read", CHAT, seq=Seq(0))), "ack", {"type": "read", "chat_id": 1, "seq": 0}),
    (events.Error(events.ErrorPayload("c", "a sentence")), "error", {"code": "c", "error": "a sentence"}),
    (
        events.Error(events.ErrorPayload("c", "s", [FieldProblem("f", "min", "1")], 1.5)),
        "error",
        {"code": "c", "error": "s", "messages": [{"field": "f", "tag": "min", "value": "1"}], "retry_after": 1.5},
    ),
    (events.Pong(), "pong", {}),
    (events.GoingAway(events.GoingAwayPayload(0)), "going_away", {"reconnect_after_ms": 0}),
]


@pytest.mark.parametrize(
    ("event", "kind", "payload"), SHAPES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_an_event_has_exactly_these_fields(event: events.ServerEvent, kind: str, payload: dict[str, Any]) -> None:
    assert msgspec.json.decode(events.encode_event(event)) == {"type": kind, "payload": payload}


def test_every_event_is_in_the_table() -> None:
    shown = {type(event) for event, _, _ in SHAPES}
    assert shown == set(events.ServerEvent.__args__)


@pytest.mark.parametrize("ref", ["a", "", 0, -1, 2**53])
def test_an_answer_carries_the_id_of_its_command(ref: str | int) -> None:
    for event in (
        events.Ack(events.AckPayload("ping"), id=ref),
        events.Error(events.ErrorPayload("c", "s"), id=ref),
        events.Pong(id=ref),
    ):
        assert msgspec.json.decode(events.encode_event(event))["id"] == ref


def test_no_event_holds_a_line_break() -> None:
    # Envelopes separate frames by one.
    content = "a\nb\r\n\u2028\u0085"
    frame = events.encode_event(
        events.MessageSent(events.MessagePayload(MESSAGE, content, USER, "a\nb", CHAT, AT, SEQ, "text"))
    )
    assert b"\n" not in frame
    assert msgspec.json.decode(frame)["payload"]["content"] == content
