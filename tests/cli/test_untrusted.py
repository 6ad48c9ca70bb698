from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatapp.cli.untrusted import lines, one_line

HARMFUL = ("Cc", "Cf", "Zl", "Zp")


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("plain", "plain"),
        ("\x1b[2J\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b31mred", "red"),
        ("abc\u202etxt.exe", "abctxt.exe"),
        ("tab\there", "tab here"),
        ("one\r\ntwo\u2028three", "one\n  | two\n  | three"),
        ("family \U0001f468\u200d\U0001f469\u200d\U0001f467", "family \U0001f468\u200d\U0001f469\u200d\U0001f467"),
    ],
)
def test_a_message_is_shown_without_what_moves_a_terminal(written: str, shown: str) -> None:
    assert lines(written) == shown


def test_a_name_is_one_line_of_bounded_length() -> None:
    assert one_line("ann\n12:00 #1 bob") == "ann12:00 #1 bob"
    assert len(one_line("x" * 500)) == 100


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=200))
def test_whatever_is_written_no_control_character_is_shown(written: str) -> None:
    for shown in (lines(written).replace("\n  | ", ""), one_line(written)):
        assert all(c in "\u200c\u200d" or unicodedata.category(c) not in HARMFUL for c in shown)
