from __future__ import annotations

from pathlib import Path

import pytest

from chatapp.config import load
from tests.config.support import BOTH, from_yaml, problems_of, problems_of_yaml


def test_the_file_is_found_in_a_directory_or_named_itself(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("general: {port: 1}")
    (tmp_path / "other.yaml").write_text("general: {port: 2}")
    assert load(tmp_path, {}).general.port == 1
    assert load(tmp_path / "other.yaml", {}).general.port == 2
    assert load(None, {"CONFIG_PATH": str(tmp_path)}).general.port == 1
    assert load(None, {"CONFIG_PATH": str(tmp_path / "other.yaml")}).general.port == 2
    assert load(tmp_path / "other.yaml", {"CONFIG_PATH": str(tmp_path)}).general.port == 2


def test_the_current_directory_needs_no_file_but_its_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(None, {}).general.port == 8080
    assert load(Path(), {}).general.port == 8080
    assert load(None, {"CONFIG_PATH": "."}).general.port == 8080
    (tmp_path / "config.yaml").write_text("general: {port: 1}")
    assert load(None, {}).general.port == 1


def test_a_named_place_without_a_file_is_refused(tmp_path: Path) -> None:
    assert problems_of(tmp_path / "no.yaml").keys() == {str(tmp_path / "no.yaml")}
    assert "--config" in problems_of(tmp_path)[str(tmp_path)]
    assert "CONFIG_PATH" in problems_of(CONFIG_PATH=str(tmp_path))[str(tmp_path)]


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "general:\n", "general: {}\n", "general: {port: }\n"])
def test_what_is_left_empty_is_the_default(tmp_path: Path, text: str) -> None:
    assert from_yaml(tmp_path, text).general.port == 8080


def test_names_are_read_without_regard_to_case_as_viper_did(tmp_path: Path) -> None:
    assert from_yaml(tmp_path, "General:\n  PORT: 1\n").general.port == 1


@pytest.mark.parametrize("text", ["general: {port: '8081'}", "general: {port: 8081.0}", "general: {port: 0x1F91}"])
def test_a_number_may_be_written_in_several_ways(tmp_path: Path, text: str) -> None:
    assert from_yaml(tmp_path, text).general.port == 8081


def test_a_list_may_be_a_text_with_commas(tmp_path: Path) -> None:
    text = "redis: {mode: cluster, nodes: 'a:1, b:2'}"
    assert from_yaml(tmp_path, text, DATABASE_URL=BOTH["DATABASE_URL"]).redis.nodes == ("a:1", "b:2")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("general: {port: 1, port: 2}", "general.port"),
        ("general: {port: 1}\ngeneral: {port: 2}", "general"),
        ("general: 5", "general"),
        ("general: [port]", "general"),
        ("general: {port: [1]}", "general.port"),
        ("general: {port: {a: 1}}", "general.port"),
        ("general: {host: [a]}", "general.host"),
        ("general: {host: {a: 1}}", "general.host"),
        ("general: {port: 2024-13-45}", "general.port"),
        ("general: {web: maybe}", "general.web"),
        ("general: {? [a] : 1}", "general.?"),
        ("limits: {allowed_origins: [{a: 1}]}", "limits.allowed_origins"),
    ],
)
def test_what_does_not_fit_is_told_with_its_key(tmp_path: Path, text: str, key: str) -> None:
    assert key in problems_of_yaml(tmp_path, text)


@pytest.mark.parametrize(
    "text", ["general: {port: 1", "a: *b", "\tgeneral: 1", "a: 1\n---\nb: 2", "general: {port: !!x 1}"]
)
def test_what_is_not_yaml_is_told_with_its_place(tmp_path: Path, text: str) -> None:
    wrong = problems_of_yaml(tmp_path, text, DATABASE_URL=BOTH["DATABASE_URL"])
    assert wrong.keys() == {str(tmp_path / "config.yaml")}
    assert "line" in wrong[str(tmp_path / "config.yaml")]


def test_what_is_not_utf8_or_not_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes(b"general: {host: \xff}")
    assert "UTF-8" in problems_of(tmp_path)[str(tmp_path / "config.yaml")]
    (tmp_path / "config.yaml").unlink()
    (tmp_path / "config.yaml").mkdir()
    assert "readable" in problems_of(tmp_path)[str(tmp_path / "config.yaml")]
