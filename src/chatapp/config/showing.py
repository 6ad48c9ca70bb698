"""The settings as a plain tree, for people and for files. Secrets stay out."""

from __future__ import annotations

import re

from chatapp.config.keys import Key, sections
from chatapp.config.settings import Settings
from chatapp.config.values import Rate, Secret

Plain = str | int | float | bool | list[str] | None
_URL = re.compile(r"([a-z0-9+]+://)(.*@)?([^?#]*).*", re.DOTALL)


def to_tree(settings: Settings) -> dict[str, dict[str, Plain]]:
    """Section, key, value. Of a secret only whether it is given, of a URL also where it leads."""
    return {
        section.name: {
            key.name: to_plain(key, getattr(getattr(settings, section.name), key.attribute)) for key in section.keys
        }
        for section in sections()
    }


def to_plain(key: Key, value: object) -> Plain:
    """One value, as it would be written in the file."""
    match value:
        case Secret():
            return _without_secrets(value.reveal()) if key.name == "url" else str(value)
        case Rate():
            return str(value)
        case tuple():
            return [str(item) for item in value]
        case str() | bool() | int() | float() | None:
            return value
        case _:
            raise TypeError(f"{key.dotted} holds a {type(value).__name__}")


def _without_secrets(url: str) -> str:
    match = _URL.fullmatch(url)
    if match is None:
        return "***"
    scheme, user, rest = match.groups()
    return f"{scheme}{'***@' if user else ''}{rest}"
