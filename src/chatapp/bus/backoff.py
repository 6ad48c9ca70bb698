"""How long to wait before the next attempt."""

from __future__ import annotations

import random


class Backoff:
    """Doubles from ``first_s`` to ``most_s`` seconds, each time a random part (half to all) of it.

    The randomness keeps replicas that lost the same server from coming back all at once.
    """

    def __init__(self, *, first_s: float, most_s: float) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._next_s = first_s

    def next_s(self) -> float:
        """Seconds to wait now."""
        ceiling = self._next_s
        self._next_s = min(self._most_s, ceiling * 2)
        return ceiling * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing

    def reset(self) -> None:
        """The last attempt went well."""
        self._next_s = self._first_s
