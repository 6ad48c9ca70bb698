"""What production refuses unless it is allowed by name: what others could read on the way, and pages of anybody."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_address

from chatapp.config.checks import Finding
from chatapp.config.postgres import PostgresSettings
from chatapp.config.redis import RedisSettings
from chatapp.config.settings import Settings

_BECAUSE = "because general.environment is production"


def exposed_database(settings: Settings) -> Iterator[Finding]:
    """A connection to another host that PostgreSQL would take without TLS."""
    postgres = settings.postgres_db
    if settings.general.environment != "production" or postgres.allow_unencrypted:
        return
    for key, part in (("postgres_db.url", postgres), ("postgres_db.read_url", postgres.for_reading())):
        if part is None or not part.is_configured:
            continue
        mode, hosts = _connection(part)
        if mode in ("disable", "allow", "prefer") and (host := _elsewhere(hosts)) is not None:
            word = "sslmode" if part.url is not None else "ssl_mode"
            yield Finding(
                key if part.url is not None else "postgres_db.ssl_mode",
                f"expected {word} verify-full, verify-ca or require, {_BECAUSE} "
                f"and the database at {host} is another host, found {mode}, which may go unencrypted; "
                "where the network between is yours alone, set postgres_db.allow_unencrypted to true",
                ("postgres_db.",),
            )


def exposed(settings: Settings) -> Iterator[Finding]:
    """The same of Redis, and of the web pages that may use the service. For a process that serves."""
    if settings.general.environment != "production":
        return
    redis, limits = settings.redis, settings.limits
    if (host := _exposed_host(redis)) is not None:
        by_url = redis.url is not None
        yield Finding(
            "redis.url" if by_url else "redis.tls",
            f"expected {'a rediss:// URL' if by_url else 'true'}, {_BECAUSE} and the Redis at {host} is another host, "
            "found no TLS; where the network between is yours alone, set redis.allow_unencrypted to true",
            ("redis.",),
        )
    if "*" in limits.allowed_origins and not limits.allow_any_origin:
        yield Finding(
            "limits.allowed_origins",
            f"expected the origins of your web pages, such as https://chat.example.org, {_BECAUSE}, found *; if pages "
            "of anybody may open sockets and call the service, set limits.allow_any_origin to true",
            ("limits.allow",),
        )


def _connection(postgres: PostgresSettings) -> tuple[str, tuple[str, ...]]:
    try:
        return postgres.effective_ssl_mode(), postgres.hosts()
    except ValueError:  # a URL that is none is told of elsewhere
        return "require", ()


def _exposed_host(redis: RedisSettings) -> str | None:
    if redis.allow_unencrypted or not redis.is_configured:
        return None
    try:
        return None if redis.is_encrypted else _elsewhere(redis.hosts())
    except ValueError:  # the same
        return None


def _elsewhere(hosts: Iterable[str]) -> str | None:
    """The first host that is not this one. A name is another host, but for ``localhost``: names can change."""
    return next((host for host in hosts if not _is_here(host)), None)


def _is_here(host: str) -> bool:
    if host.startswith(("/", "@")) or host.lower().rstrip(".") == "localhost":  # a Unix socket, maybe an abstract one
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
