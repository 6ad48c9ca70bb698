from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatapp.gateway.frames import (
    FRAGMENTS,
    PING,
    Broken,
    CloseFrame,
    FrameReader,
    Incoming,
    PingFrame,
    PongFrame,
    Text,
    close_frame,
    pong_frame,
)
from tests.gateway.clients import as_the_library_reads, close, masked, ping, pong, text

LIMIT = 1000

payloads = st.text(max_size=60).map(str.encode) | st.integers(120, 300).map(lambda n: b"x" * n)
controls = st.builds(ping, st.binary(max_size=125)) | st.builds(pong, st.binary(max_size=125))


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """A text message, whole or in pieces with control frames between."""
    payload = draw(payloads)
    cuts = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=4)))
    if not cuts:
        return text(payload)
    pieces = [payload[a:b] for a, b in zip([0, *cuts], [*cuts, len(payload)], strict=True)]
    stream = b""
    for index, piece in enumerate(pieces):
        stream += masked(0x1 if index == 0 else 0x0, piece, fin=index == len(pieces) - 1)
        if index < len(pieces) - 1 and draw(st.booleans()):
            stream += draw(controls)
    return stream


streams = st.builds(
    lambda frames, end: b"".join(frames) + end,
    st.lists(messages() | controls, max_size=8),
    st.sampled_from([b"", close(), close(None), close(4000, b"bye")]),
)


def read(stream: bytes, limit_bytes: int = LIMIT) -> list[Incoming]:
    return FrameReader(limit_bytes).feed(stream)


def said(events: list[Incoming]) -> tuple[list[tuple[str, bytes | int | None]], int | None]:
    told: list[tuple[str, bytes | int | None]] = []
    for event in events:
        match event:
            case Text(data):
                told.append(("text", data))
            case PingFrame(data):
                told.append(("ping", data))
            case PongFrame():
                told.append(("pong", None))
            case CloseFrame(code):
                told.append(("close", code))
            case Broken(code, _):
                return told, code
    return told, None


# -- properties ---------------------------------------------------------------------------------------------------


@given(streams, st.data())
def test_however_a_stream_is_split_it_says_the_same(stream: bytes, data: st.DataObject) -> None:
    whole = read(stream)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    reader = FrameReader(LIMIT)
    split = [event for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True) for event in reader.feed(stream[a:b])]
    assert split == whole


@given(streams)
def test_a_valid_stream_says_what_the_library_reads(stream: bytes) -> None:
    assert said(read(stream)) == as_the_library_reads(stream, LIMIT)


@given(streams, st.data())
def test_a_damaged_stream_is_refused_where_the_library_refuses_it(stream: bytes, data: st.DataObject) -> None:
    if not stream:
        return
    damaged = bytearray(stream)
    for index in data.draw(st.lists(st.integers(0, len(stream) - 1), min_size=1, max_size=3)):
        damaged[index] = data.draw(st.integers(0, 255))
    told, code = said(read(bytes(damaged)))
    expected, expected_code = as_the_library_reads(bytes(damaged), LIMIT)
    if code is None and expected_code is not None:
        # It wants fragmented messages to end before a close; RFC 6455 section 5.4 lets control frames come between.
        assert told[: len(expected)] == expected
        assert told[-1][0] == "close"
    elif code == expected_code and code != 1007:
        assert told == expected
    else:
        # Here text is all there is (1003), its UTF-8 is looked at (1007), and headers are refused before the payload.
        assert code in (1002, 1003, 1007, 1009)
        assert expected[: len(told)] == told


@given(st.binary(max_size=300), st.integers(1, 50))
def test_no_bytes_raise(stream: bytes, size: int) -> None:
    reader = FrameReader(LIMIT)
    for at in range(0, len(stream), size):
        reader.feed(stream[at : at + size])


# -- every refusal ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stream", "code"),
    [
        (b"\x81\x02hi", 1002),
        (b"\x89\x00", 1002),
        (b"\x80\x00", 1002),
        *((bytes((0x81 | rsv, 0x80)), 1002) for rsv in (0x40, 0x20, 0x10, 0x70)),
        *((masked(opcode), 1002) for opcode in (0x3, 0x4, 0x5, 0x6, 0x7, 0xB, 0xC, 0xD, 0xE, 0xF)),
        *((masked(opcode, fin=False), 1002) for opcode in (0x8, 0x9, 0xA)),
        *((masked(opcode, b"\x03\xe8" + b"x" * 124), 1002) for opcode in (0x8, 0x9, 0xA)),
        (bytes((0x89, 0xFE)), 1002),
        (bytes((0x89, 0xFF)), 1002),
        (masked(0x0), 1002),
        (masked(0x0, fin=False), 1002),
        (text("whole") + masked(0x0, b"x"), 1002),
        (masked(0x1, b"a", fin=False) + text("b"), 1002),
        (masked(0x1, b"a", fin=False) + masked(0x1, b"b", fin=False), 1002),
        (masked(0x1, b"a", fin=False) + masked(0x2, b"b"), 1002),
        (masked(0x2, b"binary"), 1003),
        (masked(0x2, fin=False), 1003),
        (text(b"\xff"), 1007),
        (text(b"\xc3"), 1007),
        (text(b"\xed\xa0\x80"), 1007),
        (text(b"\xf4\x90\x80\x80"), 1007),
        (text(b"\xc0\xaf"), 1007),
        (masked(0x1, b"\xc3", fin=False) + masked(0x0, b"("), 1007),
        (text(b"x" * (LIMIT + 1)), 1009),
        (masked(0x1, b"x" * LIMIT, fin=False) + masked(0x0, b"x"), 1009),
        (masked(0x8, b"\x03"), 1002),
        *((close(code), 1002) for code in (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)),
        (close(1000, b"\xff"), 1007),
    ],
)
def test_what_the_protocol_forbids_is_refused(stream: bytes, code: int) -> None:
    assert said(read(stream))[1] == code
    reader = FrameReader(LIMIT)
    byte_by_byte = [event for at in range(len(stream)) for event in reader.feed(stream[at : at + 1])]
    assert said(byte_by_byte)[1] == code


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4999])
def test_a_valid_close_code_is_told(code: int) -> None:
    assert read(close(code, b"reason")) == [CloseFrame(code)]


def test_a_close_may_come_without_a_code() -> None:
    assert read(close(None)) == [CloseFrame(None)]


@pytest.mark.parametrize("length", [LIMIT + 1, 65536, 2**31, 2**63, 2**64 - 1])
def test_what_is_too_large_is_refused_before_it_is_here(length: int) -> None:
    header = b"\x81\xfe" + length.to_bytes(2, "big") if length < 65536 else b"\x81\xff" + length.to_bytes(8, "big")
    assert said(read(header))[1] == 1009


def test_the_limit_itself_is_allowed() -> None:
    assert read(text(b"x" * LIMIT)) == [Text(b"x" * LIMIT)]


def test_a_message_in_endless_fragments_ends() -> None:
    reader = FrameReader(LIMIT)
    stream = masked(0x1, fin=False) + masked(0x0, fin=False) * (FRAGMENTS - 1)
    assert reader.feed(stream) == []
    assert said(reader.feed(masked(0x0, fin=False)))[1] == 1008


def test_a_message_may_come_in_many_fragments() -> None:
    stream = masked(0x1, fin=False) + masked(0x0, b"x", fin=False) * (FRAGMENTS - 2) + masked(0x0, b"end")
    assert read(stream, 2000) == [Text(b"x" * (FRAGMENTS - 2) + b"end")]


def test_a_character_may_be_divided_over_fragments() -> None:
    stream = masked(0x1, "ä".encode()[:1], fin=False) + ping(b"p") + masked(0x0, "ä".encode()[1:])
    assert read(stream) == [PingFrame(b"p"), Text("ä".encode())]


@pytest.mark.parametrize("end", [close(), b"\x81\x02hi"])
def test_after_the_end_everything_is_ignored(end: bytes) -> None:
    reader = FrameReader(LIMIT)
    assert len(reader.feed(text("a") + end + text("b"))) == 2
    assert reader.feed(text("c")) == []
    assert not reader.is_within_message


def test_what_is_half_here_is_known_to_be() -> None:
    reader = FrameReader(LIMIT)
    assert not reader.is_within_message
    reader.feed(text("hello")[:4])
    assert reader.is_within_message
    reader = FrameReader(LIMIT)
    reader.feed(masked(0x1, b"a", fin=False))
    assert reader.is_within_message
    reader.feed(masked(0x0, b"b"))
    assert not reader.is_within_message


def test_the_servers_own_control_frames_are_as_the_protocol_says() -> None:
    assert PING == b"\x89\x00"
    assert pong_frame(b"abc") == b"\x8a\x03abc"
    assert close_frame(1000, "bye") == b"\x88\x05\x03\xe8bye"


def test_a_long_reason_is_cut_to_what_fits() -> None:
    frame = close_frame(4400, "x" * 500)
    assert frame[1] == 125
    assert len(frame) == 127
