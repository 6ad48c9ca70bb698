"""The settings: one frozen Struct for each section of ``config.yaml``.

Everything else is made from these types: what the loader accepts, what it says when it does not, the sample file and
``docs/settings.md``. A field is ``Annotated`` with its bounds and a description; its unit is the end of its name
(``_s``, ``_ms``, ``_bytes``, ``_kib``) or given with it. What is not named below is not configurable. PostgreSQL's
and Redis' sections have modules of their own.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from chatapp.config.signing_keys import EXPECTED_KEY, decode_key
from chatapp.config.values import Rate, Secret

_FILE = {"expected": "the path of a file"}


class GeneralSettings(Struct, frozen=True, kw_only=True):
    """Where the service listens, and what it may take for granted.

    In containers leave host and port as they are and set environment to production.
    """

    port: Annotated[
        int, Meta(ge=0, le=65535, description="The TCP port to listen on. 0 takes a free one.", extra={"env": "PORT"})
    ] = 8080
    host: Annotated[str, Meta(min_length=1, description="The address to listen on; 0.0.0.0 is every IPv4 one.")] = (
        "0.0.0.0"  # noqa: S104 (a server in a container listens on all of its addresses)
    )
    environment: Annotated[
        Literal["development", "staging", "production"],
        Meta(
            description="In production the start is refused without a strong auth.paseto_key, with a database or Redis "
            "on another host without TLS, and with any web page allowed, unless the latter are allowed by name."
        ),
    ] = "development"
    tls_cert_file: Annotated[
        str | None,
        Meta(
            description="Certificate chain in PEM, to serve HTTPS without a proxy. Needs tls_key_file too.", extra=_FILE
        ),
    ] = None
    tls_key_file: Annotated[str | None, Meta(description="Private key of tls_cert_file, in PEM.", extra=_FILE)] = None
    workers: Annotated[
        int, Meta(ge=1, le=256, description="Processes on this host; each is a replica with one event loop.")
    ] = 1
    trusted_proxies: Annotated[
        tuple[str, ...],
        Meta(
            description="Proxies whose X-Forwarded-For and X-Forwarded-Proto are believed. Name your load balancer's "
            "network here, or every client has its address.",
            extra={"expected": "a list of addresses or networks such as 10.0.0.0/8"},
        ),
    ] = ("127.0.0.1",)
    replica_name: Annotated[
        Annotated[str, Meta(pattern=r"^[!-~]{1,64}$")] | None,
        Meta(
            description="What this replica is called in logs, probes, commands and to its clients. Without one: host "
            "name and port. With several workers each one's number comes after it.",
            extra={"expected": "1 to 64 visible ASCII characters"},
        ),
    ] = None
    web: Annotated[bool, Meta(description="Serve the small web client at /.")] = True


class LoggerSettings(Struct, frozen=True, kw_only=True):
    """What is written to standard error."""

    log_level: Annotated[
        Literal["debug", "info", "warn", "error"], Meta(description="The least important level that is written.")
    ] = "info"
    format: Annotated[
        Literal["auto", "json", "console"],
        Meta(description="json is one object a line; auto is console on a terminal and json elsewhere."),
    ] = "auto"


class AuthSettings(Struct, frozen=True, kw_only=True):
    """Tokens and passwords.

    Make a key with `chatapp key generate`. Every replica needs the same one. docs/keys.md tells how to change it
    while the service runs.
    """

    paseto_key: Annotated[
        Secret | None,
        Meta(
            description="The key of all tokens. Required in production; elsewhere, when it is missing or too short, "
            "one is made and kept in .chatapp/.",
            extra={"env": "PASETO_KEY", "expected": EXPECTED_KEY},
        ),
    ] = None
    paseto_old_keys: Annotated[
        tuple[Secret, ...],
        Meta(
            description="Earlier keys: their tokens are still accepted, new ones are not made with them.",
            extra={"env": "PASETO_OLD_KEYS", "expected": "a list of keys, each " + EXPECTED_KEY},
        ),
    ] = ()
    token_expiration: Annotated[
        float, Meta(gt=0, le=87600, description="How long a token is valid.", extra={"unit": "hours"})
    ] = 24.0
    sessions_per_user: Annotated[
        int,
        Meta(
            ge=1,
            le=10000,
            description="Logins of one user that last at the same time; with one more the oldest ends.",
            extra={"unit": "sessions"},
        ),
    ] = 100
    argon2_time_cost: Annotated[
        int, Meta(ge=1, le=100, description="Passes of argon2id over its memory.", extra={"unit": "passes"})
    ] = 3
    argon2_memory_kib: Annotated[
        int, Meta(ge=8, le=4194304, description="Memory of one hash; one runs on each core at most.")
    ] = 65536
    argon2_parallelism: Annotated[int, Meta(ge=1, le=64, description="Lanes of one hash.", extra={"unit": "lanes"})] = 4
    argon2_queue: Annotated[
        int,
        Meta(
            ge=0,
            le=100000,
            description="Hashes that may wait for a core; past it, or after 10 s, the answer is 503 with Retry-After.",
            extra={"unit": "hashes"},
        ),
    ] = 32

    def signing_key(self) -> bytes | None:
        """The 32 bytes of ``paseto_key``; None when one must be made."""
        return None if self.paseto_key is None else decode_key(self.paseto_key.reveal())

    def old_signing_keys(self) -> tuple[bytes, ...]:
        """The 32 bytes of each of ``paseto_old_keys``."""
        return tuple(decode_key(key.reveal()) for key in self.paseto_old_keys)


class LimitsSettings(Struct, frozen=True, kw_only=True):
    """Bounds for what clients send and hold. Those without another word are for one replica."""

    content_bytes: Annotated[
        int, Meta(ge=1, le=1048576, description="A message's content, in UTF-8. The same on every replica.")
    ] = 16384
    frame_bytes: Annotated[
        int, Meta(ge=1024, le=16777216, description="A frame from a client; a longer one closes the socket with 1009.")
    ] = 65536
    body_bytes: Annotated[
        int, Meta(ge=1024, le=104857600, description="A request's body; a longer one is answered with 413.")
    ] = 1048576
    headers_timeout_s: Annotated[
        float, Meta(gt=0, le=300, description="How long a request's headers may take to come; then it is a 408.")
    ] = 10.0
    body_timeout_s: Annotated[
        float, Meta(gt=0, le=3600, description="How long a request's body may take to come; then it is a 408.")
    ] = 30.0
    backlog_bytes: Annotated[
        int,
        Meta(
            ge=65536,
            le=1073741824,
            description="What may wait for a client that reads slowly; past it the socket is closed with 4409.",
        ),
    ] = 1048576
    connections: Annotated[
        int, Meta(ge=1, le=1000000, description="Open sockets. Mind the limit of open files (ulimit -n).")
    ] = 20000
    connecting: Annotated[
        int,
        Meta(
            ge=1,
            le=1000000,
            description="Sockets that wait for their start. Whoever comes meanwhile is told when to come back: 503 "
            "with Retry-After.",
            extra={"unit": "sockets"},
        ),
    ] = 1000
    connections_per_user: Annotated[int, Meta(ge=1, le=10000, description="Open sockets of one user.")] = 20
    rooms_per_connection: Annotated[int, Meta(ge=1, le=100000, description="Chats that one socket follows.")] = 500
    commands_in_flight: Annotated[
        int,
        Meta(ge=1, le=10000, description="Commands of one socket that wait for their answer; then it is not read on."),
    ] = 256
    allowed_origins: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^(\*|[a-z][a-z0-9+.-]*://[^/\s*]+)$")], ...],
        Meta(
            description="Web pages that may call the service: CORS, and the socket's Origin. * is any.",
            extra={"expected": "a list of origins such as https://chat.example.org, without a path, or *"},
        ),
    ] = ("*",)
    allow_any_origin: Annotated[
        bool, Meta(description="In production * among allowed_origins is refused. With true it is not.")
    ] = False

    def origins(self) -> tuple[str, ...]:
        """``allowed_origins`` as browsers write them, in small letters."""
        return tuple(origin.lower() for origin in self.allowed_origins)


class DeliverySettings(Struct, frozen=True, kw_only=True):
    """How events reach the sockets, and how a replica leaves."""

    gap_wait_ms: Annotated[
        int,
        Meta(ge=0, le=10000, description="How long a hole in a chat's order may close by itself before it is read."),
    ] = 50
    repair_interval_s: Annotated[
        float, Meta(ge=0.1, le=300, description="How often the positions of served chats are compared with PostgreSQL.")
    ] = 3.0
    replay_limit: Annotated[
        int,
        Meta(
            ge=1,
            le=1000000,
            description="The most that a join with after_seq replays; past it the client is told to page over REST.",
            extra={"unit": "rows"},
        ),
    ] = 10000
    heartbeat_s: Annotated[
        int,
        Meta(ge=1, le=3600, description="How often a silent socket is pinged. Stay below every proxy's idle limit."),
    ] = 25
    lame_duck_s: Annotated[
        float,
        Meta(
            ge=0,
            le=300,
            description="How long a stopping replica is not ready but serves as before, so that load balancers see it "
            "and send nothing more. Then it gives its port up, and drains. Ctrl-C does not wait for that.",
        ),
    ] = 2.0
    drain_s: Annotated[
        float,
        Meta(
            ge=0,
            le=3600,
            description="How long a stopping replica takes to send its clients elsewhere. The container's stop grace "
            "period must be longer than this, lame_duck_s and 10 s more together.",
        ),
    ] = 15.0


class PresenceSettings(Struct, frozen=True, kw_only=True):
    """Who is online. Only people who share a chat learn it from each other."""

    enabled: Annotated[bool, Meta(description="Keep and tell it.")] = True
    group_limit: Annotated[
        int,
        Meta(
            ge=0,
            le=1000,
            description="In groups with more members changes are told to nobody. 0 is direct chats only.",
            extra={"unit": "members"},
        ),
    ] = 50
    offline_after_s: Annotated[
        float,
        Meta(
            ge=1,
            le=3600,
            description="Who was connected nowhere for so long is offline; who is back sooner was never away. The same "
            "on every replica.",
        ),
    ] = 30.0


class RateLimitSettings(Struct, frozen=True, kw_only=True):
    """How often something may be done, counted over all replicas. What is too often is answered with 429."""

    enabled: Annotated[bool, Meta(description="Count at all.")] = True
    login: Annotated[
        Rate,
        Meta(
            description="Wrong passwords for one account. Past the count the waits between attempts grow, from period "
            "/ count, doubling, to 15 minutes; a right password ends that."
        ),
    ] = Rate(10, 60)
    login_address: Annotated[
        Rate, Meta(description="Wrong passwords and attempts under way, from one address (IPv6: one /64).")
    ] = Rate(60, 60)
    register: Annotated[Rate, Meta(description="Registrations, from one address (IPv6: one /64).")] = Rate(60, 60)
    send: Annotated[Rate, Meta(description="Messages sent, for each user.")] = Rate(1200, 60)
    command: Annotated[Rate, Meta(description="Requests and frames of any other kind, for each user.")] = Rate(2400, 60)
    connect: Annotated[Rate, Meta(description="Sockets opened, for each user.")] = Rate(120, 60)
    connect_address: Annotated[
        Rate,
        Meta(
            description="Handshakes of sockets, from one address (IPv6: one /64). Large, for a whole company may come "
            "back from behind one address."
        ),
    ] = Rate(6000, 60)
