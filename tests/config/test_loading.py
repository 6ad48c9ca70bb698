from __future__ import annotations

import pickle
from pathlib import Path

import msgspec
import pytest

from chatapp.config import Rate, Settings, load
from chatapp.config.environment import read_environ
from chatapp.config.given import Given
from chatapp.config.keys import keys
from tests.certificates import Authority
from tests.config.support import BOTH, PRODUCTION, STRONG_KEY, from_environ, from_yaml, problems_of, problems_of_yaml


def test_nothing_given_means_the_defaults_and_own_services() -> None:
    settings = from_environ()
    assert msgspec.structs.replace(settings, notices=()) == Settings()
    assert settings.has_own_services
    assert settings.general.port == 8080


def test_the_environment_wins_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    text = "general: {port: 1, workers: 3}\n"
    settings = from_yaml(tmp_path, text, CHATAPP_GENERAL__PORT="2")
    assert (settings.general.port, settings.general.workers, settings.general.host) == (2, 3, "0.0.0.0")


def test_a_short_name_wins_over_the_long_one() -> None:
    assert from_environ(PORT="1", CHATAPP_GENERAL__PORT="2").general.port == 1


def test_every_key_can_be_given_in_the_environment() -> None:
    for key in keys().values():
        given = Given()
        read_environ({key.env: "1"}, given)
        assert given.origins.keys() == {key.dotted}
        assert not given.problems


def test_an_empty_variable_counts_as_absent() -> None:
    assert from_environ(PORT="", DATABASE_URL="", CHATAPP_GENERAL__WORKERS="").has_own_services


@pytest.mark.parametrize("written", ["17", " 17", "17.0", '"17"', "1_7", "0x11"])
def test_a_number_in_the_environment_may_be_written_as_in_toml(written: str) -> None:
    assert from_environ(CHATAPP_LIMITS__CONNECTIONS_PER_USER=written).limits.connections_per_user == 17


@pytest.mark.parametrize(("written", "meant"), [("true", True), ("True", True), ("1", True), ("false", False)])
def test_a_boolean_in_the_environment(written: str, meant: bool) -> None:
    assert from_environ(CHATAPP_RATE_LIMITS__ENABLED=written).rate_limits.enabled is meant


@pytest.mark.parametrize("written", ["https://a.org, https://b.org", '["https://a.org", "https://b.org"]'])
def test_a_list_in_the_environment_has_commas_or_brackets(written: str) -> None:
    assert from_environ(CHATAPP_LIMITS__ALLOWED_ORIGINS=written).limits.allowed_origins == (
        "https://a.org",
        "https://b.org",
    )


def test_a_list_in_the_environment_replaces_the_files(tmp_path: Path) -> None:
    text = "limits: {allowed_origins: [https://a.org]}"
    settings = from_yaml(tmp_path, text, CHATAPP_LIMITS__ALLOWED_ORIGINS="https://b.org")
    assert settings.limits.allowed_origins == ("https://b.org",)


def test_a_rate_is_a_count_and_a_period() -> None:
    settings = from_environ(CHATAPP_RATE_LIMITS__LOGIN="10/minute", CHATAPP_RATE_LIMITS__SEND="5 / 10 Seconds")
    assert settings.rate_limits.login == Rate(10, 60)
    assert settings.rate_limits.send == Rate(5, 10)
    assert str(settings.rate_limits.send) == "5/10 seconds"


@pytest.mark.parametrize("written", ["10", "0/minute", "ten/minute", "10/fortnight", "10/0 seconds", "-1/second"])
def test_what_is_not_a_rate_is_refused(written: str) -> None:
    assert "10/minute" in problems_of(CHATAPP_RATE_LIMITS__LOGIN=written)["rate_limits.login"]


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    text = "general:\n  prot: 1\n  port: many\nlogger: {log_level: loud}\nmystery: 1\n"
    wrong = problems_of_yaml(tmp_path, text, CHATAPP_AUTH__TOKEN_EXPIRATION="0", CHATAPP_GENERAL_PORT="1")
    assert wrong == {
        "general.prot": "general.prot: there is no such key; did you mean general.port? (config.yaml, line 2)",
        "general.port": "general.port: expected a whole number from 0 to 65535, found 'many' (config.yaml, line 3)",
        "logger.log_level": "logger.log_level: expected one of debug, info, warn, error, "
        "found 'loud' (config.yaml, line 4)",
        "mystery": "mystery: there is no such key (config.yaml, line 5)",
        "CHATAPP_GENERAL_PORT": "CHATAPP_GENERAL_PORT: there is no key for this variable, which should be "
        "CHATAPP_SECTION__KEY; did you mean CHATAPP_GENERAL__PORT? (environment variable CHATAPP_GENERAL_PORT)",
        "auth.token_expiration": "auth.token_expiration: expected a number above 0, at most 87600, found '0' "
        "(environment variable CHATAPP_AUTH__TOKEN_EXPIRATION)",
    }


@pytest.mark.parametrize("value", ["-1", "65536", "1.5", "eighty", "true", "[1]", "{a=1}", "2024-01-01", "nan"])
def test_a_port_that_is_none_is_refused(value: str) -> None:
    assert "general.port" in problems_of(PORT=value)


@pytest.mark.parametrize("value", ["inf", "nan", "-1", "0", "1e9"])
def test_a_duration_without_bounds_is_refused(value: str) -> None:
    assert "postgres_db.pool_timeout_s" in problems_of(CHATAPP_POSTGRES_DB__POOL_TIMEOUT_S=value)


def test_variables_that_are_not_settings_are_left_alone() -> None:
    assert from_environ(
        CHATAPP_TEST_DATABASE="x",
        CHATAPP_BENCH_CLIENTS="5",
        CHATAPP_INTERNAL_PARENT="1",
        CHATAPP_SERVICE_HOST="10.0.0.1",  # these four: Kubernetes, for a Service named chatapp
        CHATAPP_SERVICE_PORT_HTTP="80",
        CHATAPP_PORT="tcp://10.0.0.1:80",
        CHATAPP_PORT_80_TCP_ADDR="10.0.0.1",
        CHATAPP_REDIS_PORT="tcp://10.0.0.1:6379",
        chatapp_general__port="1",
        OTHER="1",
    ).has_own_services


def test_old_keys_that_nothing_reads_are_accepted_with_a_notice(tmp_path: Path) -> None:
    text = "general:\n  test_token: ''\n  proxy_setting: {enabled: false, port: 2080}\ntest_token: abc\n"
    notices = from_yaml(tmp_path, text, CHATAPP_AUTH__TEST_TOKEN="abc").notices
    for name in ("general.test_token", "general.proxy_setting", "test_token", "auth.test_token"):
        assert [notice for notice in notices if notice.startswith(f"{name} is accepted and not used")]
    assert "abc" not in "".join(notices)


def test_the_go_applications_sample_works_unchanged(tmp_path: Path) -> None:
    settings = from_yaml(
        tmp_path,
        """
general:
  port: 8080
  host: "0.0.0.0"
  environment: "development"
  test_token: ""
  tls_cert_file: ""
  tls_key_file: ""
  proxy_setting: {enabled: false, host: "127.0.0.1", port: 2080, type: "socks5"}
postgres_db: {host: "localhost", port: 5432, user: "chatapp", pass: "chatapp123", name: "chatapp_db",
              schema: "public", ssl_mode: "disable"}
redis: {host: "localhost", port: 6379, password: ""}
logger: {log_level: "info"}
auth: {paseto_key: "your-32-character-secret-key!", token_expiration: 24}
""",
    )
    assert settings.general.tls_cert_file is None
    assert settings.redis.password is None
    assert settings.postgres_db.password is not None
    assert settings.postgres_db.password.reveal() == "chatapp123"
    assert settings.auth.paseto_key is None
    assert any("too short" in notice for notice in settings.notices)


def test_one_service_without_the_other_is_refused_by_name() -> None:
    assert "REDIS_URL" in problems_of(DATABASE_URL=BOTH["DATABASE_URL"])["redis"]
    assert "DATABASE_URL" in problems_of(REDIS_URL=BOTH["REDIS_URL"])["postgres_db"]


def test_a_part_of_the_settings_is_enough_for_commands_that_use_a_part() -> None:
    environ = {name: PRODUCTION[name] for name in ("DATABASE_URL", "CHATAPP_GENERAL__ENVIRONMENT")}
    assert load(None, environ, complete=False).postgres_db.is_configured


def test_a_host_without_user_and_name_is_no_database() -> None:
    wrong = problems_of(CHATAPP_POSTGRES_DB__HOST="db", REDIS_URL="redis://cache")
    assert wrong.keys() == {"postgres_db.user", "postgres_db.name"}


def test_a_mistake_in_one_key_does_not_make_others_seem_missing() -> None:
    wrong = problems_of(DATABASE_URL=BOTH["DATABASE_URL"], CHATAPP_REDIS__HOTS="cache")
    assert wrong.keys() == {"redis.hots"}


def test_half_a_pair_of_certificate_and_key_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "cert.pem"
    file.touch()
    assert problems_of(CHATAPP_GENERAL__TLS_CERT_FILE=str(file)).keys() == {"general.tls_key_file"}
    assert (
        "no file at"
        in problems_of(CHATAPP_GENERAL__TLS_CERT_FILE=str(file), CHATAPP_GENERAL__TLS_KEY_FILE="/no")[
            "general.tls_key_file"
        ]
    )


def test_a_certificate_and_a_key_that_are_no_pair_are_refused(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    one, other = authority.issue("chat.example.org"), authority.issue("chat.example.org", name="other")
    files = {"CHATAPP_GENERAL__TLS_CERT_FILE": str(one.certificate), "CHATAPP_GENERAL__TLS_KEY_FILE": str(one.key)}
    assert from_environ(**files).general.tls_key_file == str(one.key)
    wrong = problems_of(**files | {"CHATAPP_GENERAL__TLS_KEY_FILE": str(other.key)})
    assert "no such pair" in wrong["general.tls_cert_file"]


def test_limits_that_contradict_each_other_are_refused() -> None:
    wrong = problems_of(CHATAPP_LIMITS__CONTENT_BYTES="100000", CHATAPP_LIMITS__BACKLOG_BYTES="65536")
    assert wrong.keys() == {"limits.frame_bytes"}
    wrong = problems_of(CHATAPP_LIMITS__FRAME_BYTES="131072", CHATAPP_LIMITS__BACKLOG_BYTES="65536")
    assert wrong.keys() == {"limits.backlog_bytes"}


def test_a_proxy_is_an_address_or_a_network() -> None:
    settings = from_environ(CHATAPP_GENERAL__TRUSTED_PROXIES="10.0.0.0/8, ::1")
    assert settings.general.trusted_proxies == ("10.0.0.0/8", "::1")
    assert "general.trusted_proxies" in problems_of(CHATAPP_GENERAL__TRUSTED_PROXIES="haproxy")


def test_origins_are_as_browsers_write_them() -> None:
    assert from_environ(CHATAPP_LIMITS__ALLOWED_ORIGINS="https://A.org").limits.origins() == ("https://a.org",)


@pytest.mark.parametrize("origin", ["https://a.org/chat", "https://*.a.org", "https://*", "a.org"])
def test_an_origin_has_no_path_and_stands_for_itself_alone(origin: str) -> None:
    assert "limits.allowed_origins" in problems_of(CHATAPP_LIMITS__ALLOWED_ORIGINS=origin)


def test_only_the_arguments_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "settings.yaml").write_text("general: {port: 1}")
    (tmp_path / "config.local.yaml").write_text("general: {port: 2}")
    (tmp_path / ".env").write_text("CHATAPP_GENERAL__PORT=3\nPORT=3\n")
    (tmp_path / "dynaconf_hooks.py").write_text("raise SystemExit('hooked')")
    for name in ("PORT", "CHATAPP_GENERAL__PORT", "DYNACONF_GENERAL__PORT"):
        monkeypatch.setenv(name, "4")
    monkeypatch.setenv("SETTINGS_FILE_FOR_DYNACONF", str(tmp_path / "settings.yaml"))
    monkeypatch.setenv("ROOT_PATH_FOR_DYNACONF", str(tmp_path))
    monkeypatch.setenv("AUTO_CAST_FOR_DYNACONF", "true")
    monkeypatch.setenv("MERGE_ENABLED_FOR_DYNACONF", "true")
    monkeypatch.setenv("INDEX_SEPARATOR_FOR_DYNACONF", "_")
    monkeypatch.chdir(tmp_path)
    text = "limits: {allowed_origins: [https://a.org]}\nlogger: {format: json}"
    settings = from_yaml(tmp_path, text, CHATAPP_LIMITS__ALLOWED_ORIGINS="https://b.org")
    assert settings.general.port == 8080
    assert settings.limits.allowed_origins == ("https://b.org",)


def test_expressions_of_dynaconf_are_mere_texts(tmp_path: Path) -> None:
    text = "general: {host: '@format {env[HOME]}'}\npostgres_db: {schema: '@int 5'}\n"
    settings = from_yaml(tmp_path, text, CHATAPP_REDIS__SENTINEL_MASTER="@jinja {{ 1 }}")
    assert settings.general.host == "@format {env[HOME]}"
    assert settings.postgres_db.schema == "@int 5"
    assert settings.redis.sentinel_master == "@jinja {{ 1 }}"


def test_settings_can_be_handed_to_another_process() -> None:
    settings = from_environ(**BOTH, PASETO_KEY=STRONG_KEY)
    assert pickle.loads(pickle.dumps(settings)) == settings
