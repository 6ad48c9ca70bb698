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


def test_behind_pgbouncer_nothing_is_sent_at_connect_and_no_name_is_used_twice() -> None:
    url = Secret("postgres://u@h/d?sslmode=disable&application_name=x")
    arguments = PostgresSettings(url=url, schema="chat", pgbouncer=True).connect_args()
    name = arguments.pop("prepared_statement_name_func")
    assert arguments == {"ssl": False}
    assert callable(name)
    assert name() != name()


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
    ],
)
def test_what_is_not_the_url_of_a_database_is_refused(url: str) -> None:
    assert problems_of(DATABASE_URL=url, REDIS_URL="redis://h").keys() == {"postgres_db.url"}


def test_without_a_database_there_is_no_url() -> None:
    with pytest.raises(ValueError, match="no database"):
        PostgresSettings().sqlalchemy_url()
