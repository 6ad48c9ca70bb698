"""Topics and their slots, as the Redis Cluster specification has them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from chatapp.bus.slots import SLOTS, slot_of


@given(st.binary(max_size=40) | st.text("a{}", max_size=12).map(str.encode))
def test_a_slot_is_the_one_that_redis_itself_finds(topic: bytes) -> None:
    assert slot_of(topic) == key_slot(topic)
    assert 0 <= slot_of(topic) < SLOTS


@pytest.mark.parametrize(("topic", "same_as"), [(b"{a}b", b"a"), (b"x{a}{b}", b"a"), (b"{{a}}", b"{a")])
def test_what_stands_in_the_first_braces_decides(topic: bytes, same_as: bytes) -> None:
    assert slot_of(topic) == slot_of(same_as)


def test_the_checksum_is_the_one_of_the_specification() -> None:
    assert slot_of(b"123456789") == 0x31C3
