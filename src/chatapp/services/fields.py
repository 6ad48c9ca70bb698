"""The rules for what users type into fields, collected so that all problems of a request are told at once."""

from __future__ import annotations

import unicodedata

from chatapp.errors import FieldProblem, ValidationFailed
from chatapp.protocol.text import is_blank, is_storable

USERNAME_MIN, USERNAME_MAX = 3, 50
PASSWORD_MIN, PASSWORD_MAX = 6, 1024
DISPLAY_NAME_MAX = 100
CHAT_NAME_MAX = 100
MEMBER_IDS_MAX = 1000
SEARCH_MAX = 100


class Fields:
    """Reads fields one by one; ``done`` raises ``ValidationFailed`` with everything that was wrong.

    Lengths are in characters (code points), after white space around was taken away; a password is left as it is.
    What is returned for a field with a problem is of no use.
    """

    def __init__(self) -> None:
        self._problems: list[FieldProblem] = []

    def username(self, given: str) -> str:
        """3 to 50 visible characters."""
        name = given.strip()
        if self._is_text("username", name) and self._has_length("username", name, USERNAME_MIN, USERNAME_MAX):
            if is_blank(name):
                self._wrong("username", "required")
            elif any(unicodedata.category(c) == "Cc" for c in name):
                self._wrong("username", "type", "text without control characters")
        return name

    def password(self, given: str) -> str:
        """6 to 1024 characters, any."""
        if self._is_text("password", given):
            self._has_length("password", given, PASSWORD_MIN, PASSWORD_MAX)
        return given

    def display_name(self, given: str) -> str:
        """At most 100 characters; empty is none."""
        name = given.strip()
        if self._is_text("display_name", name):
            self._has_length("display_name", name, 0, DISPLAY_NAME_MAX)
        return name

    def chat_name(self, given: str, *, required: bool = True) -> str:
        """1 to 100 characters; a direct chat needs none."""
        name = given.strip()
        fits = self._is_text("name", name) and self._has_length("name", name, int(required), CHAT_NAME_MAX)
        if fits and required and is_blank(name):
            self._wrong("name", "required")
        return name

    def member_ids_count(self, count: int) -> None:
        """1 to 1000 ids."""
        if count < 1:
            self._wrong("member_ids", "min", "1")
        elif count > MEMBER_IDS_MAX:
            self._wrong("member_ids", "max", str(MEMBER_IDS_MAX))

    def search(self, given: str) -> str:
        """At most 100 characters."""
        wanted = given.strip()
        if self._is_text("q", wanted):
            self._has_length("q", wanted, 0, SEARCH_MAX)
        return wanted

    def done(self) -> None:
        """Raise ``ValidationFailed`` if there was any problem."""
        if self._problems:
            raise ValidationFailed(self._problems)

    def _is_text(self, field: str, value: str) -> bool:
        if is_storable(value):
            return True
        self._wrong(field, "type", "text without NUL and lone surrogates")
        return False

    def _has_length(self, field: str, value: str, least: int, most: int) -> bool:
        if not value and least:
            self._wrong(field, "required")
        elif len(value) < least:
            self._wrong(field, "min", str(least))
        elif len(value) > most:
            self._wrong(field, "max", str(most))
        else:
            return True
        return False

    def _wrong(self, field: str, tag: str, value: str = "") -> None:
        self._problems.append(FieldProblem(field, tag, value))
