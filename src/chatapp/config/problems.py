"""What can be wrong with a configuration, told all at once."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct


class Problem(Struct, frozen=True):
    """One thing to mend. Never holds the value of a secret."""

    key: str
    """The dotted name, such as ``general.port``; or the file or variable where there is no key."""
    message: str
    """What was expected, and what was found."""
    source: str = ""
    """Where it was given, such as ``config.yaml, line 3``; empty when it was given nowhere."""

    def __str__(self) -> str:
        return f"{self.key}: {self.message}" + (f" ({self.source})" if self.source else "")


class ConfigError(Exception):
    """The configuration cannot be used. ``str`` is for the operator, one line for each problem."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        super().__init__("\n".join([f"the configuration has {count}:", *(f"  {problem}" for problem in self.problems)]))
