"""``config.yaml``: which one it is, and what it says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from chatapp.config.given import Given
from chatapp.config.keys import Key, sections
from chatapp.config.problems import Problem

FILE_NAME = "config.yaml"
_STANDARD = "tag:yaml.org,2002:"
_NULL = _STANDARD + "null"


def find_file(path: Path | None, environ: Mapping[str, str], given: Given) -> Path | None:
    """The file to read: ``path``, else ``CONFIG_PATH``, else the current directory's, where there may be none."""
    named, source = (path, "--config") if path is not None else (None, "environment variable CONFIG_PATH")
    if named is None and environ.get("CONFIG_PATH"):
        named = Path(environ["CONFIG_PATH"])
    place = named or Path()
    file = place / FILE_NAME if place.is_dir() else place
    if file.exists():
        return file
    if place.resolve() != Path.cwd():
        expected = f"a {FILE_NAME} in this directory" if place.is_dir() else "a file or directory"
        _cannot_read(place, f"expected {expected}, found none", source, given)
    return None


def read_file(path: Path, given: Given) -> None:
    """Add what the file says. Problems never quote the file's text: it may hold secrets."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        _cannot_read(path, f"expected a readable file, found: {error.strerror}", "", given)
        return
    except UnicodeDecodeError:
        _cannot_read(path, "expected UTF-8, found other bytes", "", given)
        return
    try:
        _Reader(path, text, given).read()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        message = (
            f"expected YAML, found a mistake{place}; a text that begins with a sign such as * & ! % @ needs quotes"
        )
        _cannot_read(path, message, "", given)


def _cannot_read(path: Path, message: str, source: str, given: Given) -> None:
    given.file_unread = True
    given.problems.append(Problem(str(path), message, source))


class _Reader:
    """Walks the nodes of one document, so that texts stay as they are written and lines are known."""

    def __init__(self, path: Path, text: str, given: Given) -> None:
        self._path = path
        self._given = given
        self._loader = yaml.SafeLoader(text)

    def read(self) -> None:
        document = self._loader.get_single_node()
        if document is None:
            return
        for section, node in self._pairs(document, ()):
            if section in [known.name for known in sections()]:
                for name, value in self._pairs(node, (section,)):
                    key = self._given.find((section, name), self._source(value))
                    if key is not None:
                        self._put(key, value)
            else:
                self._given.find((section,), self._source(node))

    def _pairs(self, node: yaml.Node, parts: tuple[str, ...]) -> Iterator[tuple[str, yaml.Node]]:
        """The mapping's keys, in lower case, and their nodes; nothing for an empty one."""
        if node.tag == _NULL:
            return
        if not isinstance(node, yaml.MappingNode):
            name = ".".join(parts) or str(self._path)
            message = "expected keys with values, found " + ("a list" if isinstance(node.value, list) else "a text")
            self._given.problems.append(Problem(name, message, self._source(node)))
            return
        seen: set[str] = set()
        for key_node, value in node.value:
            name = str(key_node.value).lower() if isinstance(key_node, yaml.ScalarNode) else "?"
            if name in seen:
                dotted = ".".join((*parts, name))
                message = "expected each key once, found it again"
                self._given.problems.append(Problem(dotted, message, self._source(key_node)))
                continue
            seen.add(name)
            yield name, value

    def _put(self, key: Key, node: yaml.Node) -> None:
        if node.tag == _NULL:
            return
        value = self._texts(key, node) if key.is_text else self._value(node)
        if value == "" and key.default is None:  # `password: ""` means none
            return
        self._given.put(key, value, self._source(node))

    def _texts(self, key: Key, node: yaml.Node) -> object:
        """As they are written, unless they are something else."""
        if _is_text(node):
            return split(node.value) if key.is_list else node.value
        if isinstance(node, yaml.SequenceNode) and all(_is_text(item) for item in node.value):
            return [item.value for item in node.value]
        return self._value(node)

    def _value(self, node: yaml.Node) -> object:
        try:
            value: object = self._loader.construct_object(node, deep=True)
        except ValueError:  # an impossible date, such as 2024-13-45
            return str(node.value)
        return value

    def _source(self, node: yaml.Node) -> str:
        return f"{self._path.name}, line {node.start_mark.line + 1}"


def _is_text(node: yaml.Node) -> bool:
    """With a tag of its own it is not: it may be a password that begins with ! and lacks its quotes."""
    return isinstance(node, yaml.ScalarNode) and node.tag.startswith(_STANDARD)


def split(text: str) -> list[str]:
    """The parts of ``a, b, c``, or of lines."""
    return [part for part in (part.strip() for part in text.replace("\n", ",").split(",")) if part]
