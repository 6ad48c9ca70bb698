from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from chatapp.errors import Malformed
from chatapp.protocol.envelope import Envelope, Kind, pack, unpack
from chatapp.protocol.ids import MAX_INT64, ChatId, Seq, UserId

frames = st.binary(max_size=30).map(lambda text: text.replace(b"\n", b" "))
ids = st.integers(0, MAX_INT64)
bare_envelopes = st.builds(
    Envelope,
    st.sampled_from(Kind),
    ids.map(ChatId),
    ids.map(Seq),
    st.lists(frames, min_size=1, max_size=3).map(tuple),
    ids.map(UserId),
)
envelopes = st.builds(lambda envelope, trace: replace(envelope, trace=trace), bare_envelopes, st.binary(max_size=25))


@given(st.lists(envelopes, max_size=5))
def test_what_is_packed_is_unpacked_alike(given_envelopes: list[Envelope]) -> None:
    assert list(unpack(pack(given_envelopes))) == given_envelopes


@given(st.lists(bare_envelopes, min_size=1, max_size=3), st.data())
def test_a_payload_that_ends_too_early_is_malformed(given_envelopes: list[Envelope], data: st.DataObject) -> None:
    payload = pack(given_envelopes)
    whole = [len(pack(given_envelopes[:count])) for count in range(len(given_envelopes) + 1)]
    length = data.draw(st.integers(0, len(payload) - 1))
    if length in whole:
        assert list(unpack(payload[:length])) == given_envelopes[: whole.index(length)]
    else:
        with pytest.raises(Malformed):
            list(unpack(payload[:length]))


@given(st.binary(max_size=120))
def test_hostile_bytes_raise_nothing_but_malformed(payload: bytes) -> None:
    try:
        found = list(unpack(payload))
    except Malformed:
        return
    assert all(isinstance(envelope.kind, Kind) for envelope in found)


def test_kinds_of_a_newer_version_are_skipped() -> None:
    known = Envelope(Kind.LASTING, ChatId(1), Seq(2), (b"{}",))
    unknown = struct.pack(">BQQQI", 200, 1, 1, 0, 3) + b"abc"
    assert list(unpack(unknown + pack([known]) + unknown)) == [known]


def test_only_what_lasts_has_a_position() -> None:
    with_position = {kind for kind in Kind if Envelope(kind, ChatId(1), Seq(1), ()).has_position}
    assert with_position == {Kind.LASTING, Kind.REMOVED}


@given(envelopes)
def test_a_trace_is_a_record_of_its_own_that_older_replicas_skip(traced: Envelope) -> None:
    bare = pack([replace(traced, trace=b"")])
    assert pack([traced]).endswith(bare), "what clients are sent and rooms read stays as it is"
    record = pack([traced]).removesuffix(bare)
    if record:
        header = struct.Struct(">BQQQI")
        kind, *_, length = header.unpack_from(record)
        assert kind not in list(Kind)  # which an older replica skips, as the test above says
        assert header.size + length == len(record)


def test_a_trace_belongs_to_the_next_envelope_and_to_no_other() -> None:
    one, other = (Envelope(Kind.LASTING, ChatId(1), Seq(at), (b"{}",)) for at in (1, 2))
    traced = replace(one, trace=b"t" * 25)
    assert list(unpack(pack([traced, other]))) == [traced, other]
    assert list(unpack(pack([other, traced]))) == [other, traced]


def test_a_trace_that_is_too_long_is_not_taken() -> None:
    envelope = Envelope(Kind.LASTING, ChatId(1), Seq(1), (b"{}",))
    assert list(unpack(pack([replace(envelope, trace=b"t" * 65)]))) == [envelope]
