"""The section ``postgres_db``, and what SQLAlchemy and asyncpg need to know of it."""

from __future__ import annotations

import re
import ssl
from typing import Annotated, Literal

from msgspec import Meta, Struct, field
from msgspec.structs import replace
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from chatapp.config.values import Secret

EXPECTED_URL = "a URL such as postgres://user:password@host:5432/name?sslmode=require"
_DRIVER = "postgresql+asyncpg"
_CONNECT_OPTIONS = ("target_session_attrs", "krbsrvname", "passfile")
# Hosts with commas between, as libpq takes them: what stands before, the hosts, what stands behind.
_SEVERAL_HOSTS = re.compile(r"([^/?#]+://(?:[^/?#@]*@)?)([^/?#@,]+(?:,[^/?#@,]+)+)(/[^?]*)?(?:\?(.*))?")
_IGNORED_OPTIONS = ("channel_binding", "gssencmode", "prepare_threshold", "default_query_exec_mode")


class PostgresSettings(Struct, frozen=True, kw_only=True):
    """Where everything is kept. Either url, or host with user and name.

    In Compose and Kubernetes set DATABASE_URL, or DATABASE_URL_FILE to the path of a mounted secret. With neither a
    database nor a Redis configured, `server start` runs its own two.
    """

    host: Annotated[str | None, Meta(description="Host name, address, or directory of the Unix socket.")] = None
    port: Annotated[int, Meta(ge=1, le=65535, description="TCP port.")] = 5432
    user: Annotated[str | None, Meta(description="Role to log in as.")] = None
    password: Annotated[Secret | None, Meta(description="The role's password.")] = field(name="pass", default=None)
    name: Annotated[str | None, Meta(description="Name of the database.")] = None
    schema: Annotated[str, Meta(min_length=1, description="Schema of the tables (search_path). It must exist.")] = (
        "public"
    )
    ssl_mode: Annotated[
        Literal["prefer", "disable", "require", "verify-ca", "verify-full"],
        Meta(description="TLS, as libpq understands these words. A sslmode in the URL takes precedence."),
    ] = "prefer"
    allow_unencrypted: Annotated[
        bool,
        Meta(
            description="In production a database on another host is refused unless ssl_mode (sslmode in a URL) is at "
            "least require. With true it is not: for a network that is yours alone."
        ),
    ] = False
    url: Annotated[
        Secret | None,
        Meta(
            description="All of the above at once. Takes precedence over host, port, user, pass and name. Several "
            "hosts (host1:5432,host2:5432) are tried in turn for the one that takes writes.",
            extra={"env": "DATABASE_URL", "expected": EXPECTED_URL},
        ),
    ] = None
    read_url: Annotated[
        Secret | None,
        Meta(
            description="A standby (or several, or what stands before them) that history and the search for users are "
            "read from, as far as it is up to date: see docs/postgres.md.",
            extra={"expected": EXPECTED_URL},
        ),
    ] = None
    read_lag_s: Annotated[
        float,
        Meta(ge=1, le=3600, description="How far the standby may be behind to be searched for users."),
    ] = 5.0
    pool_size: Annotated[
        int,
        Meta(
            ge=1,
            le=1000,
            description="Connections of one replica at most. Over all replicas they must stay below max_connections.",
            extra={"unit": "connections"},
        ),
    ] = 10
    pool_timeout_s: Annotated[
        float,
        Meta(gt=0, le=60, description="How long a request waits for a connection before it is answered with 503."),
    ] = 2.0
    statement_timeout_ms: Annotated[
        int, Meta(ge=1, le=600000, description="A statement that takes longer is cancelled. Not sent with pgbouncer.")
    ] = 5000
    lock_timeout_ms: Annotated[
        int, Meta(ge=1, le=600000, description="Longest wait for a lock. Not sent with pgbouncer.")
    ] = 2000
    idle_in_transaction_timeout_ms: Annotated[
        int,
        Meta(
            ge=1,
            le=600000,
            description="A transaction in which nothing happens for longer is ended, so that a replica that hangs "
            "holds no lock. Not sent with pgbouncer.",
        ),
    ] = 5000
    pgbouncer: Annotated[
        bool,
        Meta(
            description="PgBouncer in transaction mode stands between. Nothing is prepared, and timeouts and schema "
            "are not sent: set them with ALTER ROLE."
        ),
    ] = False

    @property
    def is_configured(self) -> bool:
        """Whether there is a database to connect to."""
        return self.url is not None or self.host is not None

    def sqlalchemy_url(self) -> URL:
        """Where to connect, for ``create_async_engine``; needs ``connect_args`` beside it.

        Raises ``ValueError`` when nothing is configured. The URL's ``repr`` and ``str`` hide the password.
        """
        given = self._given_url()
        if len(hosts := _hosts(given)) > 1:
            return given.set(drivername=_DRIVER, host=hosts[0][0], port=hosts[0][1], query={})
        kept = {name: given.query[name] for name in ("host", "port") if name in given.query}
        return given.set(drivername=_DRIVER, query=kept)

    def connect_args(self) -> dict[str, object]:
        """The keyword arguments of asyncpg: TLS, search path and the URL's other options.

        Options that libpq knows are translated, unknown ones become settings of the server's session, as with Go's
        drivers. Several hosts are lists in ``host`` and ``port``, for ``storage.hosts``. Raises ``OSError`` or
        ``ssl.SSLError`` for a certificate file that cannot be read.
        """
        hosts = _hosts(self._given_url())
        options = {name: value for name, value in self._given_url().normalized_query.items() if value}
        option = {name: value[-1] for name, value in options.items() if name not in ("host", "port")}
        arguments: dict[str, object] = _tls(option, option.pop("sslmode", self.ssl_mode))
        if "connect_timeout" in option:
            arguments["timeout"] = float(option.pop("connect_timeout"))
        arguments |= {name: option.pop(name) for name in _CONNECT_OPTIONS if name in option}
        for name in [name for name in option if name in _IGNORED_OPTIONS or name.startswith("pool_")]:
            del option[name]
        if len(hosts) > 1:
            arguments |= {"host": [host for host, _ in hosts], "port": [port for _, port in hosts]}
            arguments.setdefault("target_session_attrs", "read-write")
        if self.pgbouncer:  # takes no settings but the name, and keeps no statement prepared
            option = {name: text for name, text in option.items() if name == "application_name"}
            arguments |= {"statement_cache_size": 0, "prepared_statement_cache_size": 0}
            return arguments | ({"server_settings": option} if option else {})
        if self.schema != "public":
            option.setdefault("search_path", self.schema)
        return arguments | ({"server_settings": option} if option else {})

    def for_reading(self) -> PostgresSettings | None:
        """The same settings for ``read_url``; None without one."""
        return None if self.read_url is None else replace(self, url=self.read_url, read_url=None)

    def hosts(self) -> tuple[str, ...]:
        """Every host that may be connected to; the directory of a Unix socket is one. Raises ``ValueError``."""
        return tuple(host for host, _ in _hosts(self._given_url()))

    def effective_ssl_mode(self) -> str:
        """How TLS is asked for: the URL's ``sslmode``, else ``ssl_mode``. Raises ``ValueError``."""
        return (self._given_url().normalized_query.get("sslmode") or (self.ssl_mode,))[-1]

    def _given_url(self) -> URL:
        if self.url is not None:
            return parse_url(self.url.reveal())
        if self.host is None:
            raise ValueError("no database is configured")
        password = None if self.password is None else self.password.reveal()
        if self.host.startswith("/"):
            query = {"host": self.host, "port": str(self.port)}
            return URL.create(_DRIVER, self.user, password, database=self.name, query=query)
        return URL.create(_DRIVER, self.user, password, self.host, self.port, self.name)


def parse_url(text: str) -> URL:
    """Raises ``ValueError``, which does not quote the text, for what is not the URL of a PostgreSQL database."""
    try:
        url = make_url(_with_hosts_as_options(text))
        _hosts(url)
    except (ArgumentError, ValueError):
        raise ValueError("what is not a URL") from None
    if url.drivername.partition("+")[0] not in ("postgres", "postgresql"):
        raise ValueError("a URL of something else")
    if not url.host and "host" not in url.query:
        raise ValueError("a URL without a host")
    mode = url.query.get("sslmode", "prefer")
    if mode not in ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"):
        raise ValueError("a sslmode that does not exist")
    timeout = url.query.get("connect_timeout", "1")
    if not (isinstance(timeout, str) and timeout.isascii() and timeout.isdigit()):
        raise ValueError("a connect_timeout that is not whole seconds")
    return url


def _with_hosts_as_options(text: str) -> str:
    """``postgres://u@a:1,b:2/d`` as ``postgres://u@/d?host=a:1&host=b:2``, which SQLAlchemy can parse."""
    several = _SEVERAL_HOSTS.fullmatch(text)
    if several is None:
        return text
    begin, hosts, path, query = several.groups()
    options = [f"host={host}" for host in hosts.split(",")] + ([query] if query else [])
    return f"{begin}{path or '/'}?{'&'.join(options)}"


def _hosts(url: URL) -> list[tuple[str, int]]:
    """All hosts with their ports. Raises ``ValueError`` for ports that are none, or not as many as hosts."""
    options = url.normalized_query
    names = [name for text in options.get("host", ()) for name in text.split(",")] or [url.host or ""]
    ports = [port for text in options.get("port", ()) for port in text.split(",")]
    if len(names) == 1:
        return [(names[0], url.port or 5432)]
    found: list[tuple[str, int]] = []
    for at, name in enumerate(names):
        host, separator, port = name.rpartition(":")
        if not separator or port.endswith("]"):
            host, port = name, ports[at % len(ports)] if ports else "5432"
        found.append((host.removeprefix("[").removesuffix("]"), int(port or "5432")))
    if ports and len(ports) not in (1, len(names)):
        raise ValueError("not as many ports as hosts")
    return found


def _tls(option: dict[str, str], mode: str) -> dict[str, object]:
    """Takes the certificate options out of ``option``. With prefer, asyncpg's own default does what libpq does."""
    root, certificate, key = (option.pop(name, None) for name in ("sslrootcert", "sslcert", "sslkey"))
    if mode == "disable":
        return {"ssl": False}
    if mode in ("allow", "prefer"):
        return {}
    context = ssl.create_default_context(cafile=None if root == "system" else root)
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    context.check_hostname = mode == "verify-full"
    if mode == "require" and root is None:  # with a root, libpq verifies with require too
        context.verify_mode = ssl.CERT_NONE
    return {"ssl": context}
