"""What production refuses to start with, unless it is allowed by name."""

from __future__ import annotations

import pytest

from tests.config.support import PRODUCTION, STRONG_KEY, from_environ, problems_of

GOOD = {**PRODUCTION, "PASETO_KEY": STRONG_KEY}


def parts(**given: str) -> dict[str, str]:
    """The database by its parts instead of a URL."""
    database = {"HOST": "db", "USER": "u", "NAME": "chat"} | given
    return {**GOOD, "DATABASE_URL": "", **{f"CHATAPP_POSTGRES_DB__{name}": text for name, text in database.items()}}


def test_production_that_is_all_encrypted_and_names_its_pages_starts_without_a_warning() -> None:
    assert from_environ(**GOOD).notices == ()


# -- PostgreSQL ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["", "?sslmode=prefer", "?sslmode=allow", "?sslmode=disable"])
@pytest.mark.parametrize("hosts", ["db", "10.0.0.3:5433", "localhost,db", "[2001:db8::1]", "localhost.example.org"])
def test_a_database_elsewhere_is_spoken_to_with_tls_or_not_at_all(hosts: str, mode: str) -> None:
    url = f"postgres://u:hunter2@{hosts}/chat{mode}"
    wrong = problems_of(**GOOD | {"DATABASE_URL": url})
    assert wrong.keys() == {"postgres_db.url"}
    assert "sslmode verify-full" in wrong["postgres_db.url"]
    assert "postgres_db.allow_unencrypted" in wrong["postgres_db.url"]
    assert "hunter2" not in wrong["postgres_db.url"]
    assert from_environ(**GOOD | {"DATABASE_URL": url}, CHATAPP_POSTGRES_DB__ALLOW_UNENCRYPTED="true")
    assert from_environ(**GOOD | {"DATABASE_URL": url, "CHATAPP_GENERAL__ENVIRONMENT": "staging"})


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
def test_a_database_elsewhere_with_tls_is_good(mode: str) -> None:
    assert from_environ(**GOOD | {"DATABASE_URL": f"postgres://u:p@db/chat?sslmode={mode}"})
    assert from_environ(**parts(SSL_MODE=mode))


@pytest.mark.parametrize(
    "url",
    [
        "postgres://u:p@localhost/chat?sslmode=disable",
        "postgres://u:p@127.0.0.7,[::1]:5433/chat",
        "postgresql://u@/chat?host=/run/postgresql",
    ],
)
def test_a_database_on_this_host_needs_no_tls(url: str) -> None:
    assert from_environ(**GOOD | {"DATABASE_URL": url})


def test_the_parts_of_a_database_are_looked_at_as_its_url_is() -> None:
    wrong = problems_of(**parts())
    assert "found prefer" in wrong["postgres_db.ssl_mode"]
    assert from_environ(**parts(ALLOW_UNENCRYPTED="true"))
    assert from_environ(**parts(HOST="/run/postgresql"))


def test_the_mode_in_the_url_counts_and_not_the_one_beside_it() -> None:
    url = {"DATABASE_URL": "postgres://u:p@db/chat?sslmode=disable", "CHATAPP_POSTGRES_DB__SSL_MODE": "verify-full"}
    assert problems_of(**GOOD | url).keys() == {"postgres_db.url"}


def test_a_standby_is_looked_at_too() -> None:
    standby = {"CHATAPP_POSTGRES_DB__READ_URL": "postgres://u:p@standby/chat"}
    assert problems_of(**GOOD | standby).keys() == {"postgres_db.read_url"}


# -- Redis -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"REDIS_URL": "redis://:hunter2@cache:6379/0"}, "redis.url"),
        ({"REDIS_URL": "redis://:hunter2@cache", "CHATAPP_REDIS__TLS": "true"}, "redis.url"),
        ({"REDIS_URL": "", "CHATAPP_REDIS__HOST": "cache"}, "redis.tls"),
        ({"REDIS_URL": "", "CHATAPP_REDIS__NODES": "a:1,b:2", "CHATAPP_REDIS__MODE": "cluster"}, "redis.tls"),
        ({"REDIS_URL": "", "CHATAPP_REDIS__NODES": "localhost:1,b:2", "CHATAPP_REDIS__MODE": "sentinel"}, "redis.tls"),
    ],
)
def test_a_redis_elsewhere_is_spoken_to_with_tls_or_not_at_all(given: dict[str, str], key: str) -> None:
    wrong = problems_of(**GOOD | given)
    assert wrong.keys() == {key}
    assert "redis.allow_unencrypted" in wrong[key]
    assert "hunter2" not in wrong[key]
    assert from_environ(**GOOD | given, CHATAPP_REDIS__ALLOW_UNENCRYPTED="true")


@pytest.mark.parametrize(
    "given",
    [
        {"REDIS_URL": "redis://localhost"},
        {"REDIS_URL": "redis://[::1]:6379"},
        {"REDIS_URL": "unix:///run/redis.sock"},
        {"REDIS_URL": "", "CHATAPP_REDIS__HOST": "cache", "CHATAPP_REDIS__TLS": "true"},
    ],
)
def test_a_redis_on_this_host_or_with_tls_is_good(given: dict[str, str]) -> None:
    assert from_environ(**GOOD | given)


# -- web pages -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("origins", ["", "*", "https://chat.example.org,*"])
def test_pages_of_anybody_are_allowed_by_name_or_not_at_all(origins: str) -> None:
    anybody = GOOD | {"CHATAPP_LIMITS__ALLOWED_ORIGINS": origins}
    wrong = problems_of(**anybody)
    assert wrong.keys() == {"limits.allowed_origins"}
    assert "limits.allow_any_origin" in wrong["limits.allowed_origins"]
    assert from_environ(**anybody, CHATAPP_LIMITS__ALLOW_ANY_ORIGIN="true").limits.allowed_origins[-1] == "*"
    assert from_environ(**anybody | {"CHATAPP_GENERAL__ENVIRONMENT": "development"})


# -- together --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("broken", "key"),
    [
        ({"DATABASE_URL": "postgres://[db/chat"}, "postgres_db.url"),
        ({"REDIS_URL": "redis://[cache"}, "redis.url"),
        ({"REDIS_URL": "http://cache"}, "redis.url"),
        (
            {"CHATAPP_LIMITS__ALLOW_ANY_ORIGIN": "maybe", "CHATAPP_LIMITS__ALLOWED_ORIGINS": "*"},
            "limits.allow_any_origin",
        ),
    ],
)
def test_what_is_broken_is_told_once(broken: dict[str, str], key: str) -> None:
    assert problems_of(**GOOD | broken).keys() == {key}
