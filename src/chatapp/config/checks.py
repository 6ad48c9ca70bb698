"""Rules that look at more than one key, or further than a type can say."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from pathlib import Path

from msgspec import Struct

from chatapp.config.keys import keys
from chatapp.config.postgres import parse_url
from chatapp.config.redis import check_url
from chatapp.config.settings import Settings
from chatapp.config.tracing import check_endpoint, parse_headers
from chatapp.config.values import Secret


class Finding(Struct, frozen=True):
    """What is wrong with a key. Means nothing while a key that begins with one of ``involves`` is wrong itself."""

    key: str
    message: str
    involves: tuple[str, ...] = ()


def wrong_forms(settings: Settings) -> Iterator[Finding]:
    """Texts that are given but not of their form."""
    for address in settings.general.trusted_proxies:
        try:
            ip_network(address, strict=False)
        except ValueError:
            yield _expected("general.trusted_proxies", repr(address))
    yield from _wrong_url("postgres_db.url", settings.postgres_db.url, parse_url)
    yield from _wrong_url("postgres_db.read_url", settings.postgres_db.read_url, parse_url)
    yield from _wrong_url("redis.url", settings.redis.url, check_url)
    yield from _wrong_url("tracing.otlp_endpoint", Secret(settings.tracing.otlp_endpoint), check_endpoint)
    yield from _wrong_url("tracing.otlp_headers", settings.tracing.otlp_headers, parse_headers)


def wrong_relations(settings: Settings) -> Iterator[Finding]:
    """Keys that do not fit together, for a process that serves."""
    yield from _wrong_tls(settings)
    yield from _wrong_services(settings)
    limits = settings.limits
    for name, value in (("frame_bytes", limits.frame_bytes), ("body_bytes", limits.body_bytes)):
        if value <= limits.content_bytes:
            message = f"expected more than limits.content_bytes, which is {limits.content_bytes}, found {value}"
            yield Finding(f"limits.{name}", message, (f"limits.{name}", "limits.content_bytes"))
    if limits.backlog_bytes < limits.frame_bytes:
        message = f"expected at least limits.frame_bytes, which is {limits.frame_bytes}, found {limits.backlog_bytes}"
        yield Finding("limits.backlog_bytes", message, ("limits.backlog_bytes", "limits.frame_bytes"))


def incomplete_database(settings: Settings) -> Iterator[Finding]:
    """What is missing to connect to the database that is configured, and certificates that cannot be read."""
    postgres = settings.postgres_db
    if postgres.url is None and postgres.host is not None:
        for name, value in (("user", postgres.user), ("name", postgres.name)):
            if value is None:
                key = f"postgres_db.{name}"
                yield Finding(key, "expected a text, because postgres_db.host is given, found nothing", (key,))
    if postgres.is_configured and not list(_wrong_url("postgres_db.url", postgres.url, parse_url)):
        try:
            postgres.connect_args()
        except (OSError, ssl.SSLError):
            yield Finding("postgres_db.url", "expected certificate files that can be read in sslrootcert and sslcert")
    if postgres.pgbouncer and postgres.schema != "public":
        message = "expected public, because postgres_db.pgbouncer is on: give the role another search_path instead"
        yield Finding("postgres_db.schema", message, ("postgres_db.schema", "postgres_db.pgbouncer"))


def _wrong_tls(settings: Settings) -> Iterator[Finding]:
    general = settings.general
    for name, file, other in (
        ("tls_cert_file", general.tls_cert_file, general.tls_key_file),
        ("tls_key_file", general.tls_key_file, general.tls_cert_file),
    ):
        if file is None and other is not None:
            message = "expected the path of a file, because the other half of the pair is given, found nothing"
            yield Finding(f"general.{name}", message, ("general.tls_",))
        elif file is not None and not Path(file).is_file():
            yield _expected(f"general.{name}", f"no file at {file!r}")
            return
    if general.tls_cert_file is not None and general.tls_key_file is not None:
        try:
            # Asks nobody for the passphrase of a key that has one.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
                general.tls_cert_file, general.tls_key_file, password=lambda: ""
            )
        except (OSError, ValueError):  # ssl.SSLError is an OSError
            message = "expected a certificate chain and its key in PEM, without a passphrase, found no such pair"
            yield Finding("general.tls_cert_file", message, ("general.tls_",))


def _wrong_services(settings: Settings) -> Iterator[Finding]:
    postgres, redis = settings.postgres_db, settings.redis
    both = ("postgres_db", "redis")
    if postgres.is_configured and not redis.is_configured:
        message = "expected a Redis too (REDIS_URL, or redis.host), because a database is configured; found none"
        yield Finding("redis", message, both)
    if redis.is_configured and not postgres.is_configured:
        message = "expected a database too (DATABASE_URL, or postgres_db.host), because Redis is configured; found none"
        yield Finding("postgres_db", message, both)
    if redis.mode == "sentinel" and not redis.nodes:
        message = "expected the Sentinels as host:port, because redis.mode is sentinel, found none"
        yield Finding("redis.nodes", message, ("redis.nodes", "redis.mode"))
    if redis.mode == "single" and redis.nodes:
        message = "expected sentinel or cluster, because redis.nodes is given, found single"
        yield Finding("redis.mode", message, ("redis.nodes", "redis.mode"))
    if redis.mode == "cluster" and not redis.is_configured:
        message = "expected some nodes of the cluster as host:port, because redis.mode is cluster, found none"
        yield Finding("redis.nodes", message, ("redis.",))


def _wrong_url(key: str, url: Secret | None, parse: Callable[[str], object]) -> Iterator[Finding]:
    if url is not None:
        try:
            parse(url.reveal())
        except ValueError as error:
            yield _expected(key, str(error))


def _expected(key: str, found: str) -> Finding:
    return Finding(key, f"expected {keys()[key].expected}, found {found}")
