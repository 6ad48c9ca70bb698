"""Memberships that this replica heard of lately, without I/O: the repair tells only of the others."""

from __future__ import annotations

from collections.abc import Callable

from chatapp.protocol.ids import ChatId, Seq, UserId


class Joinings:
    """``clock``: seconds, monotonic. What was heard is known for at least ``keep_s``, and at most twice as long."""

    def __init__(self, clock: Callable[[], float], keep_s: float) -> None:
        self._clock = clock
        self._keep_s = keep_s
        self._since = clock()
        self._recent: dict[tuple[UserId, ChatId], Seq] = {}
        self._older: dict[tuple[UserId, ChatId], Seq] = {}

    def __len__(self) -> int:
        return len(self._recent) + len(self._older)

    def heard(self, user_id: UserId, chat_id: ChatId, joined_seq: Seq) -> None:
        """The user's connections here were told of this membership, or will be by their ``ready``."""
        self.forget()
        self._recent[user_id, chat_id] = joined_seq

    def knows(self, user_id: UserId, chat_id: ChatId, joined_seq: Seq) -> bool:
        """Whether it, or a later one of the same user and chat, was heard of."""
        key = (user_id, chat_id)
        heard = self._recent.get(key, self._older.get(key))
        return heard is not None and heard >= joined_seq

    def forget(self) -> None:
        """Drop what is too old. Call it now and then; ``heard`` does."""
        now = self._clock()
        if now - self._since >= self._keep_s:
            aged = now - self._since >= 2 * self._keep_s
            self._older, self._recent, self._since = {} if aged else self._recent, {}, now
