from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import msgspec
import yaml

from chatapp.config import Settings, load
from chatapp.config.keys import keys, sections
from chatapp.config.showing import to_tree

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "config.sample.yaml"


def test_the_sample_loads_as_it_is_and_says_what_the_code_says() -> None:
    assert msgspec.structs.replace(load(SAMPLE, {}), notices=()) == Settings()
    given = yaml.safe_load(SAMPLE.read_text(encoding="utf-8"))
    defaults = to_tree(Settings())
    assert given == {
        name: {key: value for key, value in values.items() if value is not None} for name, values in defaults.items()
    }


def test_the_sample_names_every_key() -> None:
    named, section = set(), ""
    for line in SAMPLE.read_text(encoding="utf-8").splitlines():
        if match := re.fullmatch(r"(\w+):", line):
            section = match[1]
        elif match := re.match(r"  (?:# )?(\w+):(?: |$)", line):
            named.add(f"{section}.{match[1]}")
    assert keys().keys() <= named


def test_the_sample_holds_no_secret() -> None:
    given = yaml.safe_load(SAMPLE.read_text(encoding="utf-8"))
    for key in keys().values():
        if key.is_secret:
            assert not given[key.section].get(key.name)


def test_every_key_is_described() -> None:
    for section in sections():
        assert section.type.__doc__
        for key in section.keys:
            assert key.description.endswith("."), key.dotted
            assert key.expected not in ("a list", "a value"), key.dotted


def test_the_generated_pages_are_fresh() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "generate.py", "--check"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
