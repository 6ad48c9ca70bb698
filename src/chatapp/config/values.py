"""Values that are more than a text: secrets and rates."""

from __future__ import annotations

import hmac
import re
from typing import ClassVar

RATE_PATTERN = r"^ *(\d{1,9}) */ *(?:(\d{1,6}) *)?(second|minute|hour|day)s? *$"
_RATE = re.compile(RATE_PATTERN)
_PERIODS_S = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}


class Secret:
    """A text that shows itself only to who calls ``reveal``: neither ``repr``, ``str`` nor a format string does."""

    __slots__ = ("_text",)
    expected: ClassVar[str] = "a text"

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself. Hand it on at once, and never to a log."""
        return self._text

    def __repr__(self) -> str:
        return "Secret('***')"

    def __str__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._text))


class Rate:
    """At most ``count`` in any ``period_s`` seconds. Written ``10/minute`` or ``5/10 seconds``."""

    __slots__ = ("count", "period_s")
    expected: ClassVar[str] = "a rate such as 10/minute or 5/10 seconds (second, minute, hour, day)"

    count: int
    period_s: int

    def __init__(self, count: int, period_s: int) -> None:
        if count < 1 or period_s < 1:
            raise ValueError("a rate has a count and a period of at least 1")
        self.count = count
        self.period_s = period_s

    @classmethod
    def parse(cls, text: str) -> Rate:
        """Raises ``ValueError`` for what is not a rate."""
        match = _RATE.fullmatch(text.strip().lower())
        if match is None:
            raise ValueError(f"not a rate: {text!r}")
        count, periods, period = match.groups()
        return cls(int(count), int(periods or 1) * _PERIODS_S[period])

    def __str__(self) -> str:
        for word, seconds in _PERIODS_S.items():
            if seconds == self.period_s:
                return f"{self.count}/{word}"
        return f"{self.count}/{self.period_s} seconds"

    def __repr__(self) -> str:
        return f"Rate({self.count}, {self.period_s})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rate) and (self.count, self.period_s) == (other.count, other.period_s)

    def __hash__(self) -> int:
        return hash((Rate, self.count, self.period_s))
