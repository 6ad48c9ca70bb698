"""Names of the bus's topics. A replica hears those that its own connections need, ``CONTROL`` and ``ROLL_CALL``."""

from __future__ import annotations

from chatapp.protocol.ids import ChatId, UserId

CONTROL = b"chatapp:control"
"""Every replica listens: revocations of tokens."""
ROLL_CALL = b"chatapp:roll-call"
"""Every replica listens: an operator's command asks who is there."""

PRESENCE = b"chatapp:presence"
"""Every replica listens, unless presence is switched off: who came online and who went offline."""

_CHAT = b"chatapp:chat:%d"
_USER = b"chatapp:user:%d"


def chat_topic(chat_id: ChatId) -> bytes:
    """What happens in a chat: everything with a position, and typing and read marks."""
    return _CHAT % chat_id


def user_topic(user_id: UserId) -> bytes:
    """What concerns one user on all connections: becoming a member of a chat."""
    return _USER % user_id


def roll_answer_topic(answer_to: str) -> bytes:
    """Where all replicas answer one roll call; only who asked listens."""
    return b"chatapp:roll-answer:%b" % answer_to.encode("ascii")
