"""Who is there in the beginning, and what they have said: ``story.yaml``, which is ours."""

from __future__ import annotations

from importlib.resources import files

import msgspec
from msgspec import Struct


class Line(Struct, frozen=True, array_like=True):
    """One message: ``[who, what]``."""

    who: str
    text: str


class Talk(Struct, frozen=True):
    """A chat. The first of ``members`` makes it; without a name it is the direct chat of two."""

    members: list[str]
    lines: list[Line]
    name: str = ""


class Story(Struct, frozen=True):
    """``people``: user name and display name. ``talks``: the one that is written last is on top of everybody's list."""

    people: dict[str, str]
    bot: str
    talks: list[Talk]


def load_story() -> Story:
    """The story that is shipped."""
    return msgspec.yaml.decode(files("chatapp.demo").joinpath("story.yaml").read_bytes(), type=Story)
