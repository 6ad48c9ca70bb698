from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from chatapp.embedded import OwnServicesError, signing_key


def test_the_key_has_32_bytes_and_stays(tmp_path: Path) -> None:
    key = signing_key(tmp_path)
    assert len(key) == 32
    assert signing_key(tmp_path) == key


def test_every_directory_has_its_own(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    assert signing_key(tmp_path) != signing_key(tmp_path / "other")


def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    signing_key(tmp_path)
    assert stat.S_IMODE((tmp_path / ".chatapp" / "paseto_key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / ".chatapp").stat().st_mode) == 0o700


def test_all_who_ask_first_at_the_same_moment_get_the_same_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as threads:
        keys = set(threads.map(lambda _: signing_key(tmp_path), range(64)))
    assert len(keys) == 1
    assert {path.name for path in (tmp_path / ".chatapp").iterdir()} == {".gitignore", "paseto_key"}


def test_a_home_that_was_open_to_others_is_closed(tmp_path: Path) -> None:
    (tmp_path / ".chatapp").mkdir(mode=0o755)
    signing_key(tmp_path)
    assert stat.S_IMODE((tmp_path / ".chatapp").stat().st_mode) == 0o700


def test_a_file_that_is_no_key_is_an_error_and_not_replaced(tmp_path: Path) -> None:
    signing_key(tmp_path)
    (tmp_path / ".chatapp" / "paseto_key").write_bytes(b"short")
    with pytest.raises(OwnServicesError, match="paseto_key is not a key of 32 bytes"):
        signing_key(tmp_path)
