"""Where a session stands in each chat, without I/O: what is new, what was heard before, what must be asked for again.

The connection follows nothing by itself (``?follow=none``): every chat is resumed at a position, so that what is heard
of it is one ascending line, from that position on.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Mapping
from enum import Enum, auto

from msgspec import Struct, field

from chatapp.client.events import place_of
from chatapp.protocol.events import (
    ChatDeleted,
    ChatEvent,
    ChatPosition,
    MemberAdded,
    MemberRemoved,
    MessageDeleted,
    MessageSent,
    MessageUpdated,
    NewChat,
)
from chatapp.protocol.ids import ChatId, Seq, UserId

RESUMED_AT_ONCE = 500
"""Chats in one ``resume``."""
ADDRESS_CHARACTERS = 3000
"""Of positions in the address of the socket; proxies take at least 8 KiB for all of the request's head."""
_RETRYABLE = frozenset({"unavailable", "overloaded", "rate_limited", "internal"})


class Phase(Enum):
    """What a chat waits for."""

    ASKED = auto()
    """A resume is under way: its frames, and then its ack."""
    LIVE = auto()
    READING = auto()
    """The history is read over REST, for too much was missed."""
    DUE = auto()
    """To be resumed, at ``due``."""
    OUT = auto()
    """Not followed: not a member (any more)."""


class _Chat(Struct):
    position: Seq
    """Everything up to here was told."""
    phase: Phase = Phase.DUE
    due: float = 0.0
    told: set[type] = field(default_factory=set)
    """The frames that were told at ``position``: those of one system row share it."""
    skips: bool = False
    """There was no room for an event: nothing more of this connection counts."""
    was_removed: bool = False
    called: bool = False
    """``new_chat`` came while a resume was under way."""

    @property
    def resumes_from(self) -> Seq:
        """One before a system row, of which the link may have cut off the second frame."""
        row_may_be_cut = bool(self.told) and self.told.isdisjoint(_WHOLE)
        return Seq(self.position - 1) if row_may_be_cut and self.position > 0 else self.position


class Following:
    """All chats of a session. ``only``: these and no others; None: all of the user."""

    def __init__(self, positions: Mapping[ChatId, Seq], only: Collection[ChatId] | None, rng: random.Random) -> None:
        self._chats = {
            chat_id: _Chat(Seq(seq)) for chat_id, seq in positions.items() if only is None or chat_id in only
        }
        self._only = None if only is None else frozenset(only)
        self._asked_in_address: set[ChatId] = set()
        self._rng = rng
        self._was_open = False
        self.missed = 0
        """Messages told since the connection began, of chats that were not live."""

    @property
    def positions(self) -> dict[ChatId, Seq]:
        """Of every chat that is followed, or will be again."""
        return {chat_id: chat.position for chat_id, chat in self._chats.items() if chat.phase is not Phase.OUT}

    @property
    def is_behind(self) -> bool:
        """Whether a chat is not live yet."""
        return any(chat.phase not in (Phase.LIVE, Phase.OUT) or chat.skips for chat in self._chats.values())

    @property
    def is_asked(self) -> bool:
        """Whether the server owes something: the rest of a replay, or its ack."""
        return any(chat.phase is Phase.ASKED and not chat.skips for chat in self._chats.values())

    @property
    def skips(self) -> bool:
        """Whether there was no room for something, so that only another connection brings it."""
        return any(chat.skips for chat in self._chats.values())

    # -- a connection ---------------------------------------------------------------------------------------------

    def query(self) -> str:
        """Of the socket's address: as many positions as fit."""
        self._asked_in_address.clear()
        parts: list[str] = []
        room = ADDRESS_CHARACTERS
        for chat_id, chat in self._chats.items():
            part = f"{chat_id}:{chat.resumes_from}"
            room -= len(part) + 1
            if room < 0 or len(parts) >= RESUMED_AT_ONCE:
                break
            if chat.phase is not Phase.OUT:
                parts.append(part)
                self._asked_in_address.add(chat_id)
        return "follow=none" + (f"&resume={','.join(parts)}" if parts else "")

    def opened(self, chats: Iterable[ChatPosition], now: float) -> None:
        """``ready`` came, with these chats."""
        self.missed = 0
        for seen in chats:
            if self._only is not None and seen.chat_id not in self._only:
                continue
            chat = self._chats.get(seen.chat_id)
            if chat is None:
                # Of a chat that is new since the last connection, what is unread; at first, what comes from now on.
                start = seen.last_read_seq if self._was_open else seen.last_seq
                self._chats[seen.chat_id] = _Chat(start)
            elif chat.phase is Phase.OUT:
                chat.phase, chat.due = Phase.DUE, now
        self._was_open = True
        for chat_id in self._asked_in_address:
            if chat_id in self._chats:
                self._chats[chat_id].phase = Phase.ASKED

    def closed(self) -> None:
        """The connection is gone."""
        for chat in self._chats.values():
            chat.skips = chat.was_removed = chat.called = False
            if chat.phase is not Phase.OUT:
                chat.phase, chat.due = Phase.DUE, 0.0

    def forget(self) -> None:
        """The positions are void."""
        self._chats.clear()
        self._was_open = False

    def ask(self, now: float) -> list[dict[ChatId, Seq]]:
        """What to resume now, in batches; it counts as asked."""
        due = [chat_id for chat_id, chat in self._chats.items() if chat.phase is Phase.DUE and chat.due <= now]
        for chat_id in due:
            self._chats[chat_id].phase = Phase.ASKED
        return [
            {chat_id: self._chats[chat_id].resumes_from for chat_id in due[start : start + RESUMED_AT_ONCE]}
            for start in range(0, len(due), RESUMED_AT_ONCE)
        ]

    # -- what comes -----------------------------------------------------------------------------------------------

    def tells(self, event: ChatEvent, me: UserId, *, room: bool) -> bool:
        """Whether the caller is to hear this event; if so, the chat's position is past it. ``room``: it can be kept."""
        place = place_of(event)
        if place is None:
            return room or isinstance(event, NewChat | ChatDeleted)
        chat_id, position = place
        chat = self._chats.get(chat_id)
        if chat is None:
            return room and self._only is None
        if position < chat.position or (position == chat.position and not _is_beside(chat, event)):
            return False
        if chat.skips or not room:
            chat.skips = True
            return False
        if position > chat.position:
            chat.position, chat.told = position, set()
        chat.told.add(type(event))
        if isinstance(event, MemberRemoved | MemberAdded) and event.payload.user_id == me:
            chat.was_removed = isinstance(event, MemberRemoved)
            if chat.was_removed and chat.phase is Phase.LIVE:
                chat.phase = Phase.OUT
        return True

    def count(self, chat_id: ChatId) -> None:
        """A message was told; it had been missed if its chat is not live."""
        chat = self._chats.get(chat_id)
        if chat is not None and chat.phase is not Phase.LIVE:
            self.missed += 1

    def acked(self, chat_id: ChatId, seq: Seq) -> None:
        """A resume is complete."""
        chat = self._chats.get(chat_id)
        if chat is None or chat.phase is not Phase.ASKED or chat.skips:
            return
        chat.phase = Phase.OUT if chat.was_removed else Phase.LIVE
        if seq > chat.position:
            chat.position, chat.told = seq, set()

    def refused(self, chat_id: ChatId, code: str, retry_after_s: float | None, now: float) -> Phase | None:
        """A resume is not done; the phase that the chat is in now. None where nobody had asked."""
        chat = self._chats.get(chat_id)
        if chat is None or chat.phase is not Phase.ASKED:
            return None
        if code == "resync_required":
            chat.phase = Phase.READING
        elif code in _RETRYABLE or chat.called:
            chat.phase, chat.called = Phase.DUE, False
            chat.due = now + (retry_after_s or 0.0) + self._rng.uniform(0.1, 1.0)
        else:
            chat.phase = Phase.OUT
        return chat.phase

    def refused_all(self, chat_ids: Iterable[ChatId], retry_after_s: float | None, now: float) -> None:
        """A whole ``resume`` was refused."""
        for chat_id in chat_ids:
            self.refused(chat_id, "unavailable", retry_after_s, now)

    def became_member(self, chat_id: ChatId, position: Seq, now: float) -> None:
        """``new_chat`` came: follow it, where it was left or from ``position`` on."""
        if self._only is not None and chat_id not in self._only:
            return
        chat = self._chats.setdefault(chat_id, _Chat(position, Phase.OUT))
        if chat.phase is Phase.ASKED:
            chat.called = True
        elif chat.phase in (Phase.OUT, Phase.LIVE):
            chat.phase, chat.due, chat.was_removed = Phase.DUE, now, False

    def deleted(self, chat_id: ChatId) -> None:
        """The chat is gone."""
        self._chats.pop(chat_id, None)

    # -- reading over REST ----------------------------------------------------------------------------------------

    def reading_from(self, chat_id: ChatId) -> Seq | None:
        """Where to read on; None where nothing is to be read."""
        chat = self._chats.get(chat_id)
        return chat.position if chat is not None and chat.phase is Phase.READING else None

    def read(self, chat_id: ChatId, position: Seq) -> None:
        """Told up to here."""
        chat = self._chats.get(chat_id)
        if chat is not None and chat.phase is Phase.READING:
            chat.position, chat.told = position, set()

    def ended_reading(self, chat_id: ChatId, now: float) -> None:
        """All of it was read, or it failed: resume, from wherever that was."""
        chat = self._chats.get(chat_id)
        if chat is not None and chat.phase is Phase.READING:
            chat.phase, chat.due = Phase.DUE, now


_WHOLE = frozenset({MessageSent, MessageUpdated, MessageDeleted})
"""Events that have their position for themselves."""


def _is_beside(chat: _Chat, event: ChatEvent) -> bool:
    """Another frame of the same system row, of which not all is known to have come."""
    return (
        bool(chat.told) and type(event) not in chat.told and type(event) not in _WHOLE and chat.told.isdisjoint(_WHOLE)
    )
