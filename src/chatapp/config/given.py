"""What the sources say, one laid over the other, and where each value stands.

dynaconf lays the layers and reads numbers, booleans and lists of the environment as TOML. All that it would find by
itself stays off (its own variables, ``.env``, hooks, included files, ``@`` expressions): what is loaded depends on the
arguments of ``load`` alone.
"""

from __future__ import annotations

from difflib import get_close_matches

from dynaconf import Dynaconf
from msgspec import Struct

from chatapp.config.keys import Key, keys
from chatapp.config.problems import Problem

# Accepted because the Go application had them; nothing reads them.
UNUSED = ("proxy_setting", "test_token")


class Origin(Struct, frozen=True):
    """Where a value stands, and how it is written there."""

    source: str
    written: object


class Given:
    """Collects values, problems and notices. The last to speak of a key wins."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.notices: list[str] = []
        self.origins: dict[str, Origin] = {}
        """By dotted name: every key that was given."""
        self.file_unread = False
        """There is a file and it could not be read: what seems to be missing may stand there."""
        self._layers = Dynaconf(
            dynaconf_skip_loaders=True,
            load_dotenv=False,
            environments=False,
            auto_cast=False,  # no @format, @jinja, @read_file …
            dotted_lookup=True,
        )

    def put(self, key: Key, value: object, source: str, *, toml: bool = False) -> None:
        """Lay a value over what was given before. ``toml``: a text that may mean a number, a boolean or a list."""
        self.origins[key.dotted] = Origin(source, value)
        self._layers.set(key.dotted, value, tomlfy=toml, validate=False)

    def value(self, key: Key) -> object:
        """The topmost value of a key that was given."""
        value: object = self._layers.get(key.dotted)
        return list(value) if isinstance(value, list) else value

    def find(self, parts: tuple[str, ...], source: str) -> Key | None:
        """The key of this name; None, with a problem or notice noted, when there is none."""
        name = ".".join(parts)
        key = keys().get(name)
        if key is None and any(part in UNUSED for part in parts[:2]):
            self.notices.append(f"{name} is accepted and not used ({source})")
        elif key is None:
            close = get_close_matches(name, keys(), n=1, cutoff=0.75)
            hint = f"; did you mean {close[0]}?" if close else ""
            self.problems.append(Problem(name, f"there is no such key{hint}", source))
        return key
