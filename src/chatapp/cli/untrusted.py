"""What others wrote, made safe for a terminal: it can neither move the cursor nor pretend to be another line."""

from __future__ import annotations

import re
import unicodedata

_SEQUENCES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI, such as colours and cursor movements
    r"|[\x1b\x9d][\]PX^_]?[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"  # OSC and the other strings, such as titles and links
    r"|\x9b[0-?]*[ -/]*[@-~]"  # CSI in one character
    r"|\x1b[ -/]*[0-~]?"
)
_JOINERS = "\u200c\u200d"
"""Invisible, and part of emoji and of some scripts."""
_NEXT_LINE = "\n  | "


def one_line(text: str, limit: int = 100) -> str:
    """A name: visible, on one line, not longer than ``limit`` characters."""
    shown = " ".join(_visible(text).split())
    return shown if len(shown) <= limit else f"{shown[: limit - 1]}…"


def lines(text: str) -> str:
    """A message: its line breaks stay, each marked so that it cannot be taken for the beginning of another one."""
    broken = re.sub(r"\r\n?|[\x0b\x0c\x85\u2028\u2029]", "\n", text)
    return _NEXT_LINE.join(_visible(line) for line in broken.split("\n"))


def _visible(text: str) -> str:
    """Without control sequences, control characters, and what changes the direction of others (or hides)."""
    return "".join(
        " " if c == "\t" else c
        for c in _SEQUENCES.sub("", text)
        if c == "\t" or c in _JOINERS or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
    )
