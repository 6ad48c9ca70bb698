from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chatapp.gateway.room import EARLY_LIMIT, Room
from chatapp.protocol.envelope import Envelope, Kind
from chatapp.protocol.ids import ChatId, Seq, UserId

CHAT = ChatId(1)
GAP_WAIT_S = 0.05


def at(position: int) -> Envelope:
    return Envelope(Kind.LASTING, CHAT, Seq(position), (b"%d" % position,))


def passing() -> Envelope:
    return Envelope(Kind.PASSING, CHAT, Seq(0), (b"typing",), UserId(1))


def opened(position: int) -> Room:
    room = Room(CHAT)
    room.open(Seq(position), 0.0)
    return room


def positions(envelopes: list[Envelope]) -> list[int]:
    return [envelope.position for envelope in envelopes]


def read(room: Room, upto: int) -> list[Envelope]:
    """What PostgreSQL has for a room."""
    assert room.position is not None
    return [at(position) for position in range(room.position + 1, upto + 1)]


# -- properties ---------------------------------------------------------------------------------------------------

chunks = st.lists(st.lists(st.integers(0, 30), max_size=6), max_size=25)


@given(chunks, st.integers(0, 25), st.integers(0, 30), st.data())
def test_every_position_goes_out_once_ascending_whatever_the_bus_does(
    arrivals: list[list[int]], opens_before: int, start: int, data: st.DataObject
) -> None:
    # 0 stands for something passing; what the bus never brings was lost; reads of the gap come at any moment.
    room = Room(CHAT)
    out: list[Envelope] = []
    passed = 0
    for turn, arrival in enumerate(arrivals):
        now = float(turn)
        if turn == opens_before:
            out += room.open(Seq(start), now)
        out += room.receive([at(position) if position else passing() for position in arrival], now)
        passed += arrival.count(0) if room.position is not None else 0
        missing = room.missing(now, GAP_WAIT_S)
        if missing is not None and data.draw(st.booleans()):
            out += room.filled(read(room, missing[1]), missing[1], now)
    if room.position is None:
        assert out == []
        out += room.open(Seq(start), 100.0)
    missing = room.missing(1000.0, GAP_WAIT_S)
    if missing is not None:
        out += room.filled(read(room, missing[1]), missing[1], 1000.0)
    lasting = [e.position for e in out if e.has_position]
    highest = max([start, *(position for arrival in arrivals for position in arrival)])
    assert lasting == list(range(start + 1, highest + 1))
    assert len(out) - len(lasting) == passed
    assert room.position == highest
    assert not room.has_gap


@given(st.permutations(range(1, 13)), st.lists(st.integers(1, 12), max_size=12))
def test_reordering_and_repetition_need_no_read(order: list[int], repeated: list[int]) -> None:
    room = opened(0)
    out = [e for position in [*order, *repeated] for e in room.receive([at(position)], 0.0)]
    assert positions(out) == list(range(1, 13))
    assert not room.has_gap


@given(st.integers(1, 20), st.integers(1, 20), st.sets(st.integers(1, 40)))
def test_a_read_that_skips_positions_moves_the_room_over_them(start: int, more: int, kept: set[int]) -> None:
    # A change that a later one replaced has no row any more.
    room = opened(start)
    upto = start + more
    room.receive([at(upto + 1)], 0.0)
    rows = [at(position) for position in range(start + 1, upto + 1) if position in kept]
    out = room.filled(rows, Seq(upto), 0.0)
    assert positions(out) == [*positions(rows), upto + 1]
    assert not room.has_gap


# -- one by one ---------------------------------------------------------------------------------------------------


def test_what_is_old_is_dropped() -> None:
    room = opened(5)
    assert room.receive([at(5), at(1), at(4)], 0.0) == []
    assert not room.has_gap


def test_before_the_position_is_known_lasting_events_wait_and_passing_ones_are_dropped() -> None:
    room = Room(CHAT)
    assert room.receive([at(3), passing(), at(2)], 0.0) == []
    assert positions(room.open(Seq(1), 0.0)) == [2, 3]
    assert room.position == 3


def test_a_room_opens_once() -> None:
    room = opened(5)
    assert room.open(Seq(9), 0.0) == []
    assert room.position == 5


def test_a_gap_may_close_by_itself_for_a_moment_and_is_then_to_be_read() -> None:
    room = opened(1)
    assert room.receive([at(3)], 10.0) == []
    assert room.has_gap
    assert room.missing(10.0 + GAP_WAIT_S - 0.001, GAP_WAIT_S) is None
    assert room.missing(10.0 + GAP_WAIT_S, GAP_WAIT_S) == (1, 3)
    assert positions(room.receive([at(2)], 10.1)) == [2, 3]
    assert room.missing(99.0, GAP_WAIT_S) is None


def test_a_gap_counts_from_when_it_was_found_and_not_from_what_came_later() -> None:
    room = opened(1)
    room.receive([at(3)], 10.0)
    room.receive([at(6)], 10.04)
    assert room.missing(10.05, GAP_WAIT_S) == (1, 6)


def test_a_gap_that_is_being_read_is_not_read_twice() -> None:
    room = opened(1)
    room.receive([at(3)], 0.0)
    room.filling = True
    assert room.missing(10.0, GAP_WAIT_S) is None


def test_what_arrives_while_a_gap_is_read_is_not_told_again_by_the_read() -> None:
    room = opened(1)
    room.receive([at(4)], 0.0)
    stale = read(room, 4)
    assert positions(room.receive([at(2), at(3)], 0.0)) == [2, 3, 4]
    assert room.filled(stale, Seq(4), 0.0) == []
    assert room.position == 4


def test_what_waits_is_bounded_and_the_rest_is_read_later() -> None:
    room = opened(0)
    last = EARLY_LIMIT + 501
    room.receive([at(position) for position in range(2, last + 1)], 0.0)
    assert len(room._early) == EARLY_LIMIT
    out = room.receive([at(1)], 0.0)
    assert positions(out) == list(range(1, EARLY_LIMIT + 2))
    assert room.missing(1.0, GAP_WAIT_S) == (EARLY_LIMIT + 1, last)
    assert positions(room.filled(read(room, last), Seq(last), 1.0)) == list(range(EARLY_LIMIT + 2, last + 1))


def test_being_behind_the_database_is_urgent_when_the_bus_was_away() -> None:
    room = opened(2)
    room.behind(Seq(4), 10.0)
    assert room.missing(10.0, GAP_WAIT_S) == (2, 4)


def test_being_behind_the_database_may_be_only_what_is_on_its_way() -> None:
    room = opened(2)
    room.behind(Seq(4), 10.0, urgent=False)
    assert room.missing(10.01, GAP_WAIT_S) is None
    assert room.missing(10.1, GAP_WAIT_S) == (2, 4)
    assert positions(room.receive([at(3), at(4)], 10.2)) == [3, 4]
    assert room.missing(99.0, GAP_WAIT_S) is None


def test_a_room_that_is_up_to_date_misses_nothing() -> None:
    room = opened(2)
    room.behind(Seq(2), 10.0)
    room.behind(Seq(1), 10.0)
    assert not room.has_gap
    assert room.missing(99.0, GAP_WAIT_S) is None


def test_a_room_without_a_position_misses_nothing_yet() -> None:
    room = Room(CHAT)
    room.receive([at(3)], 0.0)
    assert room.missing(99.0, GAP_WAIT_S) is None
