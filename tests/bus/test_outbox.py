"""The outbox keeps order, bounds and count."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chatapp.bus.outbox import Outbox
from chatapp.bus.port import Delivery


def delivery(number: int, size_bytes: int = 10) -> Delivery:
    return Delivery(b"t", b"%0*d" % (size_bytes - 1, number))


def numbers(outbox: Outbox, most_payloads: int = 1_000, most_bytes: int = 1_000_000) -> list[int]:
    return [int(each.payload) for each in outbox.head(most_payloads=most_payloads, most_bytes=most_bytes)]


def test_what_was_sent_stays_until_it_is_released() -> None:
    outbox = Outbox(limit_payloads=10, limit_bytes=1_000)
    for number in range(5):
        outbox.add(delivery(number))
    assert numbers(outbox, most_payloads=3) == [0, 1, 2]
    outbox.release(2)
    assert numbers(outbox) == [2, 3, 4]
    assert (outbox.first, outbox.end, len(outbox), outbox.size_bytes) == (2, 5, 3, 30)


def test_a_head_is_bounded_in_bytes_but_never_empty() -> None:
    outbox = Outbox(limit_payloads=10, limit_bytes=1_000)
    for number in range(5):
        outbox.add(delivery(number))
    assert numbers(outbox, most_bytes=25) == [0, 1]
    assert numbers(outbox, most_bytes=1) == [0]


def test_past_the_bound_the_oldest_is_forgotten_even_when_it_is_under_way() -> None:
    outbox = Outbox(limit_payloads=3, limit_bytes=1_000)
    assert [outbox.add(delivery(number)) for number in range(5)] == [0, 0, 0, 1, 1]
    outbox.release(1)  # the answer for one that was forgotten meanwhile
    assert numbers(outbox) == [2, 3, 4]


def test_what_alone_exceeds_the_bound_is_forgotten_with_all_before_it() -> None:
    outbox = Outbox(limit_payloads=3, limit_bytes=100)
    outbox.add(delivery(1))
    assert outbox.add(delivery(2, size_bytes=101)) == 2
    assert (len(outbox), outbox.size_bytes, outbox.first, outbox.end) == (0, 0, 2, 2)


@given(st.lists(st.one_of(st.integers(1, 60), st.tuples(st.integers(0, 40))), max_size=60))
def test_it_holds_the_newest_unreleased_in_order_and_within_bounds(acts: list[int | tuple[int]]) -> None:
    outbox = Outbox(limit_payloads=8, limit_bytes=200)
    model: list[int] = []
    added = dropped = 0
    for act in acts:
        if isinstance(act, int):
            dropped += outbox.add(delivery(added, size_bytes=act + 3))
            model.append(added)
            added += 1
        else:
            outbox.release(act[0])
        model = [number for number in model if number >= outbox.first]
        assert numbers(outbox) == model
        assert len(outbox) <= 8
        assert outbox.size_bytes <= 200
        assert outbox.end == added
