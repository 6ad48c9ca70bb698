from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from chatapp.config import PostgresSettings, Secret
from tests.config.support import from_environ, problems_of


def at(url: str) -> PostgresSettings:
    return PostgresSettings(url=Secret(url))


def test_a_go_url_is_translated_for_asyncpg() -> None:
    settings = at("postgres://chat:p%40ss@db:5433/chat?sslmode=disable&application_name=x&connect_timeout=3")
    url = settings.sqlalchemy_url()
    assert url.drivername == "postgresql+asyncpg"
    assert (url.host, url.port, url.username, url.password, url.database) == ("db", 5433, "chat", "p@ss", "chat")
    assert not url.query
    assert settings.connect_args() == {"ssl": False, "timeout": 3.0, "server_settings": {"application_name": "x"}}


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg", "postgresql+psycopg"])
def test_every_scheme_of_postgresql_will_do(scheme: str) -> None:
    assert at(f"{scheme}://u@h/d").sqlalchemy_url().drivername == "postgresql+asyncpg"


def test_parts_make_the_same_url_and_keep_every_letter_of_the_password() -> None:
    settings = PostgresSettings(host="db", port=1, user="u", password=Secret("a/b:c@d?e#f%"), name="n")
    url = settings.sqlalchemy_url()
    assert (url.host, url.port, url.username, url.password, url.database) == ("db", 1, "u", "a/b:c@d?e#f%", "n")


def test_a_socket_directory_is_a_host() -> None:
    settings = PostgresSettings(host="/run/postgresql", user="u", name="n")
    for url in (settings.sqlalchemy_url(), at("postgresql://u@/n?host=/run/postgresql&port=5432").sqlalchemy_url()):
        _, arguments = create_async_engine(url).dialect.create_connect_args(url)
        assert arguments == {"host": "/run/postgresql", "port": 5432, "user": "u", "database": "n"}


def test_the_password_is_not_in_the_urls_text() -> None:
    url = at("postgres://u:hunter2@h/d").sqlalchemy_url()
    assert "hunter2" not in repr(url)
    assert "hunter2" not in str(url)


def test_the_schema_becomes_the_search_path_unless_the_url_has_one() -> None:
    settings = PostgresSettings(url=Secret("postgres://u@h/d"), schema="chat")
    assert settings.connect_args() == {"server_settings": {"search_path": "chat"}}
    settings = PostgresSettings(url=Secret("postgres://u@h/d?search_path=other"), schema="chat")
    assert settings.connect_args() == {"server_settings": {"search_path": "other"}}


def tls_of(settings: PostgresSettings) -> ssl.SSLContext:
    context = settings.connect_args()["ssl"]
    assert isinstance(context, ssl.SSLContext)
    return context


@pytest.mark.parametrize(
    ("mode", "verify", "check_hostname"),
    [
        ("require", ssl.CERT_NONE, False),
        ("verify-ca", ssl.CERT_REQUIRED, False),
        ("verify-full", ssl.CERT_REQUIRED, True),
    ],
)
def test_a_mode_of_libpq_becomes_a_context(mode: str, verify: ssl.VerifyMode, check_hostname: bool) -> None:
    by_key = from_environ(
        CHATAPP_POSTGRES_DB__SSL_MODE=mode, DATABASE_URL="postgres://u@h/d", REDIS_URL="redis://h"
    ).postgres_db
    for settings in (
        by_key,
        at(
            f"postgres://u@h/d?sslmode={mode}&sslrootcert=system"
            if mode != "require"
            else f"postgres://u@h/d?sslmode={mode}"
        ),
    ):
        context = tls_of(settings)
        assert (context.verify_mode, context.check_hostname) == (verify, check_hostname)


def test_without_a_mode_asyncpg_prefers_tls_by_itself() -> None:
    for url in ("postgres://u@h/d", "postgres://u@h/d?sslmode=prefer", "postgres://u@h/d?sslmode=allow"):
        assert at(url).connect_args() == {}


def test_a_certificate_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    for file in ("ca.pem", "none.pem"):
        url = f"postgres://u:p@h/d?sslmode=verify-full&sslrootcert={tmp_path / file}"
        assert "sslrootcert" in problems_of(DATABASE_URL=url, REDIS_URL="redis://h")["postgres_db.url"]


def test_behind_pgbouncer_nothing_but_the_name_is_sent_at_connect_and_nothing_is_kept_prepared() -> None:
    url = Secret("postgres://u@h/d?sslmode=disable&application_name=x&work_mem=1MB")
    assert PostgresSettings(url=url, pgbouncer=True).connect_args() == {
        "ssl": False,
        "server_settings": {"application_name": "x"},
        "statement_cache_size": 0,
        "prepared_statement_cache_size": 0,
    }


def test_behind_pgbouncer_the_schema_is_the_roles() -> None:
    found = problems_of(
        DATABASE_URL="postgres://u@h/d",
        REDIS_URL="redis://h",
        CHATAPP_POSTGRES_DB__PGBOUNCER="true",
        CHATAPP_POSTGRES_DB__SCHEMA="chat",
    )
    assert "search_path" in found["postgres_db.schema"]


@pytest.mark.parametrize(
    ("url", "hosts", "ports"),
    [
        ("postgres://u:p@a:1,b:2/d", ["a", "b"], [1, 2]),
        ("postgres://u:p,q@a,b/d?sslmode=disable", ["a", "b"], [5432, 5432]),
        ("postgresql://u@[::1]:1,b.example:2,[fe80::2]/d", ["::1", "b.example", "fe80::2"], [1, 2, 5432]),
        ("postgresql://u@/d?host=a,b&port=1,2", ["a", "b"], [1, 2]),
        ("postgresql://u@/d?host=a:1&host=b:2", ["a", "b"], [1, 2]),
    ],
)
def test_several_hosts_are_tried_for_the_one_that_takes_writes(url: str, hosts: list[str], ports: list[int]) -> None:
    settings = at(url)
    arguments = settings.connect_args()
    assert (arguments["host"], arguments["port"], arguments["target_session_attrs"]) == (hosts, ports, "read-write")
    parsed = settings.sqlalchemy_url()
    assert (parsed.host, parsed.port, parsed.username, parsed.database) == (hosts[0], ports[0], "u", "d")
    assert not parsed.query


def test_a_standby_has_the_settings_of_the_primary_and_an_address_of_its_own() -> None:
    settings = PostgresSettings(
        url=Secret("postgres://u@a/d"), read_url=Secret("postgres://u@b,c/d?target_session_attrs=standby"), pool_size=3
    )
    reading = settings.for_reading()
    assert reading is not None
    assert (reading.pool_size, reading.connect_args()["host"]) == (3, ["b", "c"])
    assert reading.connect_args()["target_session_attrs"] == "standby"
    assert at("postgres://u@a/d").for_reading() is None


def test_options_that_only_other_drivers_know_are_left_out() -> None:
    url = "postgres://u@h/d?pool_max_conns=5&channel_binding=require&target_session_attrs=read-write"
    assert at(url).connect_args() == {"target_session_attrs": "read-write"}


@pytest.mark.parametrize(
    "url",
    [
        "db",
        "host=db user=u",
        "postgres:///d",
        "mysql://u@h/d",
        "postgres://u@h:x/d",
        "postgres://u@h/d?sslmode=maybe",
        "postgres://u@h/d?connect_timeout=soon",
        "postgres://u@a:1,b:x/d",
        "postgres://u@/d?host=a,b,c&port=1,2",
    ],
)
def test_what_is_not_the_url_of_a_database_is_refused(url: str) -> None:
    assert problems_of(DATABASE_URL=url, REDIS_URL="redis://h").keys() == {"postgres_db.url"}


def test_without_a_database_there_is_no_url() -> None:
    with pytest.raises(ValueError, match="no database"):
        PostgresSettings().sqlalchemy_url()
