from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType

import click
import pytest
import yaml
from click.testing import CliRunner, Result
from sqlalchemy import URL

from chatapp.auth.keys import SigningKey
from chatapp.cli import main
from chatapp.config import Settings

BOTH = {"DATABASE_URL": "postgres://u:hunter2@db/chat?sslmode=disable", "REDIS_URL": "redis://:hunter2@cache"}

IN_PRODUCTION = {
    "CHATAPP_GENERAL__ENVIRONMENT": "production",
    "DATABASE_URL": "postgres://u:hunter2@127.0.0.1/chat",
    "REDIS_URL": "rediss://:hunter2@cache",
    "CHATAPP_LIMITS__ALLOWED_ORIGINS": "https://chat.example.org",
}


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty directory, and none of the settings of whoever runs the tests."""
    monkeypatch.chdir(tmp_path)
    for name in ("PORT", "CONFIG_PATH", "DATABASE_URL", "REDIS_URL", "PASETO_KEY"):
        monkeypatch.delenv(name, raising=False)


def run(*words: str, **environ: str) -> Result:
    return CliRunner().invoke(main, words, env=dict(environ), prog_name="chatapp")


class FakeApp(ModuleType):
    """Stands for ``chatapp.app.serve`` and remembers what it was asked to serve."""

    def __init__(self) -> None:
        super().__init__("chatapp.app.serve")
        self.status = 0
        self.calls: list[tuple[Settings, Path, int, bool]] = []

    def serve(
        self, settings: Settings, *, start_dir: Path, config_path: Path | None, workers: int, reload: bool
    ) -> int:
        self.calls.append((settings, start_dir, workers, reload))
        return self.status


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> FakeApp:
    fake = FakeApp()
    monkeypatch.setitem(sys.modules, "chatapp.app.serve", fake)
    return fake


def all_commands(group: click.Group, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield words
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from all_commands(command, (*words, name))
        else:
            yield (*words, name)


@pytest.mark.parametrize("words", list(all_commands(main)), ids=" ".join)
def test_every_command_explains_itself(words: tuple[str, ...]) -> None:
    result = run(*words, "--help")
    assert result.exit_code == 0
    assert result.output.startswith(f"Usage: chatapp {' '.join(words)}".rstrip())


def test_the_version_is_told() -> None:
    assert run("--version").output.startswith("chatapp, version ")


def test_server_start_serves_from_the_current_directory(app: FakeApp, tmp_path: Path) -> None:
    assert run("server", "start", PORT="1234", CHATAPP_GENERAL__WORKERS="3").exit_code == 0
    ((settings, start_dir, workers, reload),) = app.calls
    assert (settings.general.port, start_dir, workers, reload) == (1234, tmp_path, 3, False)


def test_server_start_reads_the_directory_that_it_is_given(app: FakeApp, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "config.yaml").write_text("general: {port: 1}")
    for words, environ in ((("-c", "etc"), {}), (("--config", "etc"), {}), ((), {"CONFIG_PATH": "etc"})):
        assert run("server", "start", *words, **environ).exit_code == 0
    assert [settings.general.port for settings, *_ in app.calls] == [1, 1, 1]


def test_the_number_of_workers_on_the_command_line_wins(app: FakeApp) -> None:
    run("server", "start", "--workers", "2", CHATAPP_GENERAL__WORKERS="3")
    run("server", "start", "--reload", CHATAPP_GENERAL__WORKERS="3")
    assert [(workers, reload) for _, _, workers, reload in app.calls] == [(2, False), (1, True)]
    assert run("server", "start", "--reload", "--workers", "2").exit_code == 2
    assert len(app.calls) == 2


def test_the_servers_exit_status_is_the_commands(app: FakeApp) -> None:
    app.status = 3
    assert run("server", "start").exit_code == 3


def test_a_bad_configuration_is_told_plainly_and_nothing_is_started(app: FakeApp) -> None:
    for words in (("server", "start"), ("system", "migrate"), ("config", "check"), ("config", "show"), ("health",)):
        result = run(*words, PORT="many", CHATAPP_GENERAL__PROT="1")
        assert result.exit_code == 2
        assert result.stdout == ""
        assert result.stderr.startswith("error: the configuration has 2 problems:\n  general.")
        assert "Traceback" not in result.stderr
    assert not app.calls


def test_notices_go_to_standard_error() -> None:
    result = run("config", "check", CHATAPP_GENERAL__TEST_TOKEN="x")
    assert result.exit_code == 0
    assert result.stdout == "the configuration is good\n"
    assert "warning: general.test_token is accepted and not used" in result.stderr


def test_config_show_shows_what_is_in_effect_without_secrets() -> None:
    as_yaml = run("config", "show", PORT="1", **BOTH)
    as_json = run("config", "show", "--json", PORT="1", **BOTH)
    shown = json.loads(as_json.stdout)
    assert shown == yaml.safe_load(as_yaml.stdout)
    assert shown["general"]["port"] == 1
    assert shown["postgres_db"]["url"] == "postgres://***@db/chat"
    assert "hunter2" not in as_yaml.output + as_json.output


def test_migrate_connects_as_the_settings_say(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[URL, dict[str, object]]] = []

    async def upgrade(url: URL, connect_args: dict[str, object]) -> None:
        calls.append((url, connect_args))

    monkeypatch.setattr("chatapp.storage.migrate.upgrade", upgrade)
    only_database = {
        "DATABASE_URL": BOTH["DATABASE_URL"],
        "CHATAPP_GENERAL__ENVIRONMENT": "production",
        "CHATAPP_POSTGRES_DB__ALLOW_UNENCRYPTED": "true",
    }
    assert run("system", "migrate", CHATAPP_POSTGRES_DB__SCHEMA="chat", **only_database).exit_code == 0
    ((url, connect_args),) = calls
    assert url.host == "db"
    assert connect_args == {"ssl": False, "server_settings": {"search_path": "chat"}}


def test_migrate_without_a_database_says_so() -> None:
    result = run("system", "migrate")
    assert result.exit_code == 1
    assert "no database is configured" in result.stderr


def test_migrate_says_plainly_that_the_database_is_away() -> None:
    result = run("system", "migrate", DATABASE_URL="postgres://u:hunter2@127.0.0.1:1/chat")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: the database could not be migrated: ")
    assert "hunter2" not in result.output
    assert "Traceback" not in result.output


def test_migrate_brings_an_empty_database_up_to_date_and_may_be_repeated(fresh_database: Callable[[], str]) -> None:
    url = fresh_database()
    for _ in range(2):
        result = run("system", "migrate", DATABASE_URL=url)
        assert (result.exit_code, result.stdout) == (0, "the schema is up to date\n"), result.output


@contextmanager
def answering(status: int, asked: list[str]) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(("status", "exit_code"), [(200, 0), (503, 1), (404, 1)])
def test_health_asks_the_replica_on_this_host(status: int, exit_code: int) -> None:
    asked: list[str] = []
    with answering(status, asked) as port:
        result = run("health", PORT=str(port), http_proxy="http://127.0.0.1:1", HTTP_PROXY="http://127.0.0.1:1")
    assert result.exit_code == exit_code, result.output
    assert asked == ["/health/ready"]


def test_health_fails_when_nobody_listens() -> None:
    result = run("health", PORT="1")
    assert result.exit_code == 1
    assert result.stdout.startswith("not reachable")


def test_every_key_is_a_new_one_that_production_takes() -> None:
    first, second = (run("key", "generate").stdout.strip() for _ in range(2))
    assert first != second
    assert run("config", "check", PASETO_KEY=first, **IN_PRODUCTION).exit_code == 0
    told = json.loads(run("key", "generate", "--json").stdout)
    assert SigningKey(bytes.fromhex(told["key"])).key_id == told["id"]


def test_check_tells_all_that_production_refuses_at_once() -> None:
    result = run("config", "check", CHATAPP_GENERAL__ENVIRONMENT="production", **BOTH)
    assert result.exit_code == 2
    for key in ("auth.paseto_key", "postgres_db.url", "redis.url", "limits.allowed_origins"):
        assert key in result.stderr
    assert "hunter2" not in result.output
