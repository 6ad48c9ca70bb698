"""Operators' commands on real servers, without a replica."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from click.testing import CliRunner, Result

from chatapp.cli import main

KEY = "0123456789abcdef0123456789abcdef"
PASSWORD = "correct horse\n"


@pytest.fixture(scope="module")
def environment(databases: Any, redis_url: str) -> dict[str, str]:
    made = {
        "DATABASE_URL": databases.create("operating"),
        "REDIS_URL": redis_url,
        "PASETO_KEY": KEY,
        "CHATAPP_AUTH__ARGON2_MEMORY_KIB": "1024",
        "CHATAPP_AUTH__ARGON2_TIME_COST": "1",
    }
    assert run(made, "system", "migrate").exit_code == 0
    return made


def run(environment: dict[str, str], *words: str, stdin: str = "") -> Result:
    bare = dict.fromkeys(name for name in os.environ if name.startswith("CHATAPP_") or name in ("PORT", "CONFIG_PATH"))
    return CliRunner().invoke(main, words, env={**bare, **environment}, input=stdin, prog_name="chatapp")


def told(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_an_account_from_its_making_to_its_suspension_is_in_the_log(environment: dict[str, str]) -> None:
    made = told(run(environment, "user", "create", "ann", "--display-name", "Ann", "--json", stdin=PASSWORD))
    assert (made["username"], made["display_name"], made["suspended_at"]) == ("ann", "Ann", None)
    assert run(environment, "user", "set-password", "ANN", stdin="another horse\n").exit_code == 0
    assert told(run(environment, "user", "suspend", str(made["id"]), "--json"))["suspended_at"] is not None
    assert "ann" in {one["username"] for one in told(run(environment, "user", "list", "--suspended", "--json"))}
    assert run(environment, "user", "reinstate", "ann").exit_code == 0
    assert "ann" not in {one["username"] for one in told(run(environment, "user", "list", "--suspended", "--json"))}
    log = told(run(environment, "audit", "--target", f"user:{made['id']}", "--since", "1h", "--json"))
    acts = [record["action"] for record in log]
    assert acts == ["user.reinstated", "user.suspended", "user.password_set", "user.created"]
    assert {record["actor"]["kind"] for record in log} == {"operator"}
    assert "horse" not in json.dumps(log)


def test_what_is_refused_is_told_in_a_sentence_and_fails(environment: dict[str, str]) -> None:
    run(environment, "user", "create", "bob", stdin=PASSWORD)
    for words, stdin, sentence in (
        (("user", "create", "BOB"), PASSWORD, "username already exists (username_taken)"),
        (("user", "create", "x"), "y\n", "validation failed: username: min 3; password: min 6"),
        (("user", "create", "carl"), "", "nothing came on standard input"),
        (("user", "suspend", "nobody"), "", "user not found"),
        (("user", "reinstate", "bob"), "", "the account is not suspended"),
        (("token", "issue", "bob", "--hours", "1000"), "", "24 hours at most"),
        (("token", "revoke"), "v4.local.nonsense\n", "invalid or expired token"),
        (("audit", "--action", "user.eaten"), "", "there is no act user.eaten"),
    ):
        result = run(environment, *words, stdin=stdin)
        assert result.exit_code == 1, words
        assert sentence in result.stderr
        assert "Traceback" not in result.output


def test_tokens_are_issued_for_a_time_and_ended_one_by_one_or_all(environment: dict[str, str]) -> None:
    run(environment, "user", "create", "dora", stdin=PASSWORD)
    issued = [told(run(environment, "token", "issue", "dora", "--hours", "1", "--json")) for _ in range(4)]
    sessions = told(run(environment, "token", "list", "dora", "--json"))
    assert [one["id"] for one in sessions] == [one["session_id"] for one in reversed(issued)]
    ended = told(run(environment, "token", "revoke", "--json", stdin=issued[0]["token"] + "\n"))
    assert ended["session_id"] == issued[0]["session_id"]
    assert (
        run(environment, "token", "revoke", "--user", "dora", "--session", str(issued[1]["session_id"])).exit_code == 0
    )
    assert len(told(run(environment, "token", "list", "dora", "--json"))) == 2
    assert run(environment, "token", "revoke", "--user", "dora", "--all").exit_code == 0
    assert told(run(environment, "token", "list", "dora", "--json")) == []
    for words in (("--user", "dora"), ("--all",), ("--user", "dora", "--all", "--session", "1")):
        assert run(environment, "token", "revoke", *words).exit_code == 2


def test_only_tokens_need_the_key(environment: dict[str, str]) -> None:
    without = {name: text for name, text in environment.items() if name != "PASETO_KEY"} | {"PASETO_KEY": ""}
    assert run(without, "user", "create", "erik", stdin=PASSWORD).exit_code == 0
    result = run(without, "token", "issue", "erik")
    assert result.exit_code == 1
    assert "auth.paseto_key is not configured here" in result.stderr


def test_without_redis_accounts_are_looked_after_all_the_same(environment: dict[str, str]) -> None:
    away = {**environment, "REDIS_URL": "redis://127.0.0.1:1"}
    run(away, "user", "create", "fay", stdin=PASSWORD)
    assert run(away, "user", "suspend", "fay").exit_code == 0


def test_doctor_says_what_is_missing_and_what_to_do(
    environment: dict[str, str], fresh_database: Callable[[], str]
) -> None:
    result = run(environment | {"DATABASE_URL": fresh_database()}, "doctor", "--wait", "0.1", "--json")
    assert result.exit_code == 1
    shown = json.loads(result.stdout)
    problems = {finding["text"]: finding["advice"] for finding in shown["findings"] if finding["level"] == "problem"}
    assert problems["it has no tables of ours"] == "Run `chatapp system migrate`."
    assert any(text.startswith("none answered") for text in problems)
    assert shown["postgres"]["read_only"] is False
    assert [node["role"] for node in shown["redis"]] == ["master"]
    assert any("published is heard" in f["text"] and f["latency_ms"] > 0 for f in shown["findings"])
    lines = run(environment | {"DATABASE_URL": "postgres://u:hunter2@127.0.0.1:1/x"}, "doctor", "--wait", "0.1").output
    assert "PROBLEM  postgres" in lines
    assert "hunter2" not in lines


def test_stats_without_a_replica_fails(environment: dict[str, str]) -> None:
    result = run(environment, "stats", "--wait", "0.1")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "no replica answered" in result.stderr


def test_with_nothing_configured_and_nothing_running_commands_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for words in (("user", "list"), ("doctor",), ("stats",), ("audit",)):
        result = run({"DATABASE_URL": "", "REDIS_URL": "", "PASETO_KEY": ""}, *words)
        assert result.exit_code == 1
        assert "no replica with its own runs in this directory" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_schema_takes_the_sample_and_names_what_is_wrong() -> None:
    schema = told(run({}, "config", "schema"))
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    sample = yaml.safe_load((Path(__file__).parents[2] / "config.sample.yaml").read_text())
    assert list(validator.iter_errors(sample)) == []
    mistakes: tuple[dict[str, object], ...] = (
        {"general": {"prot": 1}},
        {"general": {"port": 70000}},
        {"nonsense": {}},
        {"rate_limits": {"login": "often"}},
        {"general": {"environment": "home"}},
    )
    for wrong in mistakes:
        assert not validator.is_valid(wrong), wrong


def test_config_check_tells_problems_as_json() -> None:
    result = run({"PORT": "many"}, "config", "check", "--json")
    assert result.exit_code == 2
    shown = json.loads(result.stdout)
    assert (shown["ok"], shown["problems"][0]["key"]) == (False, "general.port")
