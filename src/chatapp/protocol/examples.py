"""One example or more of everything that crosses the socket, for the descriptions of it."""

from __future__ import annotations

from datetime import UTC, datetime

from chatapp.errors import FieldProblem
from chatapp.protocol import commands, events
from chatapp.protocol.commands import Command
from chatapp.protocol.events import ServerEvent
from chatapp.protocol.ids import ChatId, ConnectionId, MessageId, Seq, UserId
from chatapp.protocol.views import Chat

_THEN = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)
_CHAT, _USER, _MESSAGE = ChatId(7), UserId(1), MessageId(99)


def command_examples() -> list[Command]:
    """At least one of each command."""
    return [
        commands.SendMessage(commands.SendPayload(7, "hello", nonce="5f0c2a"), id="a1"),
        commands.JoinChat(commands.JoinPayload(7, after_seq=12), id="a2"),
        commands.LeaveChat(commands.ChatPayload(7), id="a3"),
        commands.EditMessage(commands.EditPayload(99, "hello, all"), id="a4"),
        commands.DeleteMessage(commands.DeletePayload(99), id="a5"),
        commands.TypingNow(commands.ChatPayload(7)),
        commands.MarkRead(commands.ReadPayload(7, 12), id="a6"),
        commands.Resume(commands.ResumePayload({7: 12, 8: 3}), id="a7"),
        commands.AskPresence(commands.AskPayload([2, 3]), id="a8"),
        commands.Ping(id=9),
    ]


def event_examples() -> list[ServerEvent]:
    """At least one of each event."""
    chat = Chat(_CHAT, "climbing", True, _USER, _THEN, _THEN, Seq(12))
    member = events.MemberChangedPayload(_CHAT, UserId(2), "bob", Seq(14))
    return [
        events.Ready(
            events.ReadyPayload(
                _USER, ConnectionId("kx7Jt0aQ"), _THEN, 25, "1", [events.ChatPosition(_CHAT, Seq(12), Seq(10))]
            )
        ),
        events.Ack(events.AckPayload("message", _CHAT, _MESSAGE, Seq(12), _THEN, "5f0c2a"), id="a1"),
        events.Error(events.ErrorPayload("not_a_member", "you are not a member of this chat"), id="a2"),
        events.Error(
            events.ErrorPayload("validation_failed", "validation failed", [FieldProblem("chat_id", "required")])
        ),
        events.Pong(id=9),
        events.GoingAway(events.GoingAwayPayload(2500)),
        events.MessageSent(events.MessagePayload(_MESSAGE, "hello", _USER, "alice", _CHAT, _THEN, Seq(12), "text")),
        events.MessageUpdated(events.MessageUpdatedPayload(_MESSAGE, _CHAT, "hello, all", Seq(12), Seq(13), _THEN)),
        events.MessageDeleted(events.MessageDeletedPayload(_MESSAGE, _CHAT, Seq(12), Seq(13))),
        events.System(events.SystemPayload(_CHAT, "alice added bob", Seq(14))),
        events.NewChat(chat),
        events.ChatUpdated(events.ChatUpdatedPayload(_CHAT, Seq(15), _THEN, name="bouldering")),
        events.ChatDeleted(events.ChatDeletedPayload(_CHAT)),
        events.MemberAdded(member),
        events.MemberRemoved(member),
        events.Typing(events.TypingPayload(_CHAT, UserId(2))),
        events.Read(events.ReadPayload(_CHAT, UserId(2), Seq(12))),
        events.Presence(events.PresencePayload(UserId(2), "online")),
        events.Presence(events.PresencePayload(UserId(3), "offline", _THEN)),
    ]
