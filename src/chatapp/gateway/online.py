"""Sets of users, a bit for each: every replica keeps who is online in the whole system."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from chatapp.protocol.ids import UserId

_BITS = 1024


class UserSet:
    """A set of users in about 0.3 bytes for each of the ids between them, where most of their neighbours are few.

    Ids are given out one after the other, so it is bounded by how many users there are and not by who is online: for
    100,000 of 1,000,000 about 250 KB, where a ``set`` of integers takes 7 MB.
    """

    __slots__ = ("_pages",)

    def __init__(self, users: Iterable[UserId] = ()) -> None:
        self._pages: dict[int, int] = {}
        self.update(users)

    def __contains__(self, user_id: UserId) -> bool:
        return bool(self._pages.get(user_id // _BITS, 0) >> (user_id % _BITS) & 1)

    def __len__(self) -> int:
        return sum(page.bit_count() for page in self._pages.values())

    def __iter__(self) -> Iterator[UserId]:
        for number, page in list(self._pages.items()):
            while page:
                lowest = page & -page
                yield UserId(number * _BITS + lowest.bit_length() - 1)
                page ^= lowest

    def __sub__(self, other: UserSet) -> UserSet:
        """Who is here and not there."""
        rest = UserSet()
        for number, page in self._pages.items():
            if left := page & ~other._pages.get(number, 0):
                rest._pages[number] = left
        return rest

    def add(self, user_id: UserId) -> None:
        """Take in."""
        number = user_id // _BITS
        self._pages[number] = self._pages.get(number, 0) | 1 << user_id % _BITS

    def update(self, users: Iterable[UserId]) -> None:
        """Take them all in."""
        for user_id in users:
            self.add(user_id)

    def discard(self, user_id: UserId) -> None:
        """Leave out."""
        number = user_id // _BITS
        left = self._pages.get(number, 0) & ~(1 << user_id % _BITS)
        if left:
            self._pages[number] = left
        else:
            self._pages.pop(number, None)
