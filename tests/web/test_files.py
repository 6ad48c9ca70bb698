"""The files of the page: complete, from nowhere else, and as their makers published them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from chatapp.api.web import DIRECTORY, read_files

ROOT = Path(__file__).parents[2]
VENDORED = DIRECTORY / "vendor"
OURS = [path for path in sorted(DIRECTORY.rglob("*.js")) if VENDORED not in path.parents]
_IMPORT = re.compile(r'^(?:import|export) .*?from "([^"]+)";|^import "([^"]+)";', re.MULTILINE | re.DOTALL)


def imports(path: Path) -> Iterator[Path]:
    for named, bare in _IMPORT.findall(path.read_text()):
        yield (path.parent / (named or bare)).resolve()


def test_what_others_made_is_as_they_published_it_and_has_its_licence() -> None:
    manifest = json.loads((VENDORED / "manifest.json").read_text())
    assert set(manifest) == {path.name for path in VENDORED.glob("*.js")}
    for name, entry in manifest.items():
        assert hashlib.sha256((VENDORED / name).read_bytes()).hexdigest() == entry["sha256"]
        assert re.fullmatch(r"[a-z]+@\d+\.\d+\.\d+", entry["package"])
        for whose in entry["licences"]:
            assert len((VENDORED / f"{whose}.LICENSE.txt").read_text()) > 1000


def test_every_module_is_reached_and_every_import_is_there() -> None:
    reached: set[Path] = set()
    waiting = [DIRECTORY / "page" / "app.js"]
    while waiting:
        module = waiting.pop()
        if module not in reached:
            reached.add(module)
            assert module.is_file(), module
            waiting += imports(module)
    assert reached == set(DIRECTORY.rglob("*.js"))


def test_what_the_page_names_is_served() -> None:
    served = read_files(DIRECTORY)
    for address in re.findall(r'(?:href|src)="([^"]+)"', (DIRECTORY / "index.html").read_text()):
        assert address.removeprefix("web/") in served


def test_every_file_of_the_page_has_a_known_type() -> None:
    files = {path.relative_to(DIRECTORY).as_posix() for path in DIRECTORY.rglob("*") if path.is_file()}
    assert files == set(read_files(DIRECTORY))


def test_no_file_of_ours_names_an_address_elsewhere_or_turns_text_into_markup() -> None:
    forbidden = re.compile(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\(|new Function|(?<!w3\.)//[a-z0-9-]+\."
    )
    for path in [*OURS, *DIRECTORY.rglob("*.css"), DIRECTORY / "index.html"]:
        code = re.sub(r"xmlns=\"[^\"]+\"", "", path.read_text())
        assert not forbidden.search(code), path


def test_the_languages_say_the_same_things() -> None:
    keys = {
        path.stem: re.findall(r"^\s+(\w+):", path.read_text(), re.MULTILINE)
        for path in (DIRECTORY / "page" / "words").glob("*.js")
    }
    assert set(keys) == {"en", "de"}
    assert keys["en"] == keys["de"]
    assert len(keys["en"]) == len(set(keys["en"]))


def test_every_word_that_the_page_asks_for_is_there() -> None:
    known = set(re.findall(r"^\s+(\w+):", (DIRECTORY / "page" / "words" / "en.js").read_text(), re.MULTILINE))
    for path in OURS:
        asked = set(re.findall(r"\bwords\.(\w+)", path.read_text()))
        assert asked <= known, (path, asked - known)


def test_the_types_name_everything_that_the_client_offers() -> None:
    code = (DIRECTORY / "chatapp.js").read_text()
    types = (DIRECTORY / "chatapp.d.ts").read_text()
    methods = set(re.findall(r"^  (?:async |get )?([a-z]\w+)\(.*\) \{$", code, re.MULTILINE)) - {"constructor"}
    assert len(methods) > 25
    for name in methods | set(re.findall(r"^export (?:class|const|function) (\w+)", code, re.MULTILINE)):
        assert re.search(rf"\b{name}\b", types), name


def test_the_wheel_has_the_page() -> None:
    wheel = pytest.importorskip("hatchling.builders.wheel")
    packed = {file.distribution_path for file in wheel.WheelBuilder(str(ROOT)).recurse_included_files()}
    for name in read_files(DIRECTORY):
        assert f"chatapp/web/{name}" in packed
