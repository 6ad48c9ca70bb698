"""What the description of the interface shows as examples."""

from __future__ import annotations

from datetime import UTC, datetime

from chatapp.protocol.ids import ChatId, MessageId, Seq, SessionId, UserId
from chatapp.protocol.views import Chat, ChatDetail, Member, Message, Profile, Session
from chatapp.services.accounts import SignedIn

_THEN = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)
_CHAT = (ChatId(7), "climbing", True, UserId(1), _THEN, _THEN, Seq(12))

PROFILE = Profile(UserId(1), "alice", _THEN, "Alice", _THEN)
SIGNED_IN = SignedIn("v4.local.…", PROFILE)
SESSION = Session(SessionId(31), _THEN, _THEN, _THEN, True, "203.0.113.7", "Mozilla/5.0 (X11; Linux x86_64)")
MEMBER = Member(UserId(1), "alice", True, _THEN)
CHAT = Chat(*_CHAT)
CHAT_DETAIL = ChatDetail(*_CHAT, members=[MEMBER], member_count=1, unread_count=2, last_read_seq=Seq(10))
MESSAGE = Message(
    id=MessageId(99),
    chat_id=ChatId(7),
    seq=Seq(12),
    content="hello",
    sender_id=UserId(1),
    kind="text",
    is_edited=False,
    created_at=_THEN,
    updated_at=_THEN,
    sender=PROFILE,
)
