"""Who hears a room, without I/O: live followers, those that are being replayed to, and those that are ahead of it.

Everything that a follower gets of a chat's lasting events is after its start and comes once, ascending.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Generic, Protocol, TypeVar

from chatapp.protocol.envelope import Envelope
from chatapp.protocol.ids import Seq, UserId

HELD_LIMIT = 2000
"""Envelopes kept for one follower during its replay; past it the replay goes on from PostgreSQL instead."""


class Follower(Protocol):
    """A connection, as far as an audience is concerned."""

    @property
    def user_id(self) -> UserId:
        """Whose it is."""


F = TypeVar("F", bound=Follower)


class Replay:
    """A follower that is read to from PostgreSQL, while what happens meanwhile is held for it."""

    __slots__ = ("ended", "held", "over", "overflowed")

    def __init__(self) -> None:
        self.held: list[Envelope] = []
        self.overflowed = False
        """Something was not held: read on from PostgreSQL before going live."""
        self.ended = False
        """The follower was removed or left meanwhile."""
        self.over = asyncio.Event()
        """Set when nothing more is read to the follower, however it ended."""

    def hold(self, envelopes: Sequence[Envelope]) -> None:
        """Keep what of this has a position; the rest is not worth keeping."""
        if self.overflowed or len(self.held) + len(envelopes) > HELD_LIMIT:
            self.overflowed = True
            self.held.clear()
        else:
            self.held.extend(e for e in envelopes if e.has_position)


class Audience(Generic[F]):
    """The followers of one room on this replica."""

    __slots__ = ("ahead", "live", "replaying")

    def __init__(self) -> None:
        self.live: dict[F, Seq] = {}
        """With its start: everything after that, up to the room's position, was delivered."""
        self.replaying: dict[F, Replay] = {}
        self.ahead: dict[F, Seq] = {}
        """Followers that come from a replica that was further than this one is yet."""

    def __len__(self) -> int:
        return len(self.live) + len(self.replaying) + len(self.ahead)

    def __contains__(self, follower: F) -> bool:
        return follower in self.live or follower in self.replaying or follower in self.ahead

    def everybody(self) -> Iterator[F]:
        """All followers."""
        yield from list(self.live)
        yield from list(self.replaying)
        yield from list(self.ahead)

    def discard(self, follower: F) -> None:
        """Hear no more."""
        self.live.pop(follower, None)
        self.ahead.pop(follower, None)
        replay = self.replaying.pop(follower, None)
        if replay is not None:
            replay.ended = True

    def of_user(self, user_id: UserId) -> list[F]:
        """The user's followers."""
        return [follower for follower in self.everybody() if follower.user_id == user_id]

    def start_of(self, follower: F) -> Seq:
        """The position from which on it hears everything; 0 while that is being read to it."""
        return self.live.get(follower, self.ahead.get(follower, Seq(0)))

    def go_live(self, follower: F, start: Seq, position: Seq) -> None:
        """Everything up to ``position`` was delivered to it, from ``start`` on; or ``start`` is yet to be reached."""
        self.replaying.pop(follower, None)
        self.live.pop(follower, None)
        if start > position:
            self.ahead[follower] = start
        else:
            self.live[follower] = start

    def catch_up(self, delivered: Sequence[Envelope], position: Seq) -> list[tuple[F, list[Envelope]]]:
        """What of ``delivered`` those hear who are ahead; who was reached goes live. Call it after each delivery."""
        if not self.ahead:
            return []
        heard = [
            (follower, [e for e in delivered if not e.has_position or e.position > start])
            for follower, start in self.ahead.items()
        ]
        for follower, start in list(self.ahead.items()):
            if position >= start:
                del self.ahead[follower]
                self.live[follower] = start
        return heard
