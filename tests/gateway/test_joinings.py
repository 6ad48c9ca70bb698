"""What was heard of memberships lately."""

from __future__ import annotations

from chatapp.gateway.joinings import Joinings
from chatapp.protocol.ids import ChatId, Seq, UserId

ANN, ROOM = UserId(1), ChatId(7)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_was_heard_is_known_and_what_came_before_it_too() -> None:
    joinings = Joinings(Clock(), 10.0)
    assert not joinings.knows(ANN, ROOM, Seq(0))
    joinings.heard(ANN, ROOM, Seq(5))
    assert joinings.knows(ANN, ROOM, Seq(5))
    assert joinings.knows(ANN, ROOM, Seq(3))
    assert not joinings.knows(ANN, ROOM, Seq(6))
    assert not joinings.knows(UserId(2), ROOM, Seq(5))


def test_it_is_known_for_as_long_as_was_asked_and_not_kept_forever() -> None:
    clock = Clock()
    joinings = Joinings(clock, 10.0)
    clock.now = 9.0
    joinings.heard(ANN, ROOM, Seq(5))
    clock.now = 12.0
    joinings.forget()
    assert joinings.knows(ANN, ROOM, Seq(5))
    clock.now = 18.9
    joinings.forget()
    assert joinings.knows(ANN, ROOM, Seq(5))
    clock.now = 22.0
    joinings.forget()
    assert len(joinings) == 0


def test_after_a_long_silence_nothing_old_is_left() -> None:
    clock = Clock()
    joinings = Joinings(clock, 10.0)
    joinings.heard(ANN, ROOM, Seq(5))
    clock.now = 1000.0
    joinings.heard(UserId(2), ROOM, Seq(9))
    assert len(joinings) == 1
