from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from chatapp.gateway.audience import HELD_LIMIT, Audience, Replay
from chatapp.protocol.envelope import Envelope, Kind
from chatapp.protocol.ids import ChatId, Seq, UserId


class Someone:
    def __init__(self, user_id: int = 1) -> None:
        self.user_id = UserId(user_id)


def at(position: int) -> Envelope:
    return Envelope(Kind.LASTING, ChatId(1), Seq(position), (b"",))


TYPING = Envelope(Kind.PASSING, ChatId(1), Seq(0), (b"",))


def heard(found: Sequence[tuple[Someone, list[Envelope]]]) -> list[list[int]]:
    return [[e.position for e in envelopes] for _, envelopes in found]


def test_a_follower_is_live_from_where_the_room_is_or_was() -> None:
    audience: Audience[Someone] = Audience()
    one, other = Someone(), Someone()
    audience.go_live(one, Seq(5), Seq(5))
    audience.go_live(other, Seq(3), Seq(5))
    assert audience.live == {one: 5, other: 3}
    assert len(audience) == 2
    assert one in audience


def test_a_follower_may_be_further_than_the_room_and_hears_only_what_is_new_to_it() -> None:
    audience: Audience[Someone] = Audience()
    one = Someone()
    audience.go_live(one, Seq(7), Seq(5))
    assert list(audience.everybody()) == [one]
    assert heard(audience.catch_up([at(6), TYPING], Seq(6))) == [[0]]
    assert heard(audience.catch_up([at(7), at(8)], Seq(8))) == [[8]]
    assert audience.live == {one: 7}
    assert audience.catch_up([at(9)], Seq(9)) == []


def test_being_reached_exactly_is_being_live() -> None:
    audience: Audience[Someone] = Audience()
    one = Someone()
    audience.go_live(one, Seq(7), Seq(6))
    assert heard(audience.catch_up([at(7)], Seq(7))) == [[]]
    assert one in audience.live


def test_a_follower_has_one_place() -> None:
    audience: Audience[Someone] = Audience()
    one = Someone()
    audience.go_live(one, Seq(7), Seq(6))
    audience.catch_up([], Seq(7))
    audience.go_live(one, Seq(3), Seq(7))
    assert len(audience) == 1
    audience.discard(one)
    assert one not in audience
    assert len(audience) == 0
    audience.discard(one)


def test_who_is_discarded_during_a_replay_learns_it() -> None:
    audience: Audience[Someone] = Audience()
    one = Someone()
    replay = audience.replaying[one] = Replay()
    audience.discard(one)
    assert replay.ended
    assert one not in audience


def test_followers_are_found_by_their_user_wherever_they_are() -> None:
    audience: Audience[Someone] = Audience()
    mine = [Someone(1), Someone(1), Someone(1)]
    audience.go_live(mine[0], Seq(1), Seq(1))
    audience.go_live(mine[1], Seq(2), Seq(1))
    audience.replaying[mine[2]] = Replay()
    audience.go_live(Someone(2), Seq(1), Seq(1))
    assert set(audience.of_user(UserId(1))) == set(mine)


def test_what_is_held_during_a_replay_has_a_position() -> None:
    replay = Replay()
    replay.hold([at(1), TYPING, at(2)])
    assert [e.position for e in replay.held] == [1, 2]
    assert not replay.overflowed


def test_a_replay_holds_no_more_than_its_limit() -> None:
    replay = Replay()
    replay.hold([at(n) for n in range(HELD_LIMIT)])
    assert not replay.overflowed
    replay.hold([at(HELD_LIMIT)])
    assert replay.overflowed
    assert replay.held == []
    replay.hold([at(HELD_LIMIT + 1)])
    assert replay.held == []


@given(st.integers(0, 20), st.lists(st.integers(1, 5), max_size=10))
def test_who_is_ahead_hears_everything_after_its_start_once(start: int, sizes: list[int]) -> None:
    audience: Audience[Someone] = Audience()
    one = Someone()
    audience.go_live(one, Seq(start), Seq(0))
    got: list[int] = []
    position = 0
    for size in sizes:
        batch = [at(position + n + 1) for n in range(size)]
        position += size
        if one in audience.live:
            got += [e.position for e in batch]
        for _, envelopes in audience.catch_up(batch, Seq(position)):
            got += [e.position for e in envelopes]
    assert got == list(range(start + 1, position + 1))
