"""What operators' commands work with: the configured services, or a replica's own ones, from outside of any replica."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from chatapp.app.replica import open_database, open_redis
from chatapp.auth.keys import Keyring, SigningKey
from chatapp.auth.passwords import Passwords
from chatapp.auth.revocations import Revocations
from chatapp.auth.tokens import Tokens
from chatapp.bus.echo import EchoBus
from chatapp.bus.memory import MemoryBus, MemoryHub
from chatapp.bus.port import Delivery
from chatapp.config import Secret, Settings
from chatapp.config.signing_keys import KeyFormatError
from chatapp.embedded import find_running, signing_key
from chatapp.services.operators import Operators
from chatapp.services.publisher import Publisher
from chatapp.services.revoking import Revoking
from chatapp.services.roll_call import Asking
from chatapp.services.sessions import Sessions
from chatapp.storage.engine import Database

_FLUSH_S = 1.0


class NothingToWorkWith(Exception):
    """No database is configured, and no replica with its own runs in the directory."""


class NoKey(Exception):
    """What is asked for needs the replicas' signing key, and none is configured here."""


class Site(Struct, frozen=True):
    """Settings with services to reach, and the key of the replicas as far as it is known here."""

    settings: Settings
    key: bytes | None


def site(settings: Settings, directory: Path) -> Site:
    """With the own services of this directory put in when nothing is configured.

    Raises ``NothingToWorkWith``, ``OwnServicesError``.
    """
    try:
        key = settings.auth.signing_key()
    except KeyFormatError:  # too short: what is no production makes one instead
        key = None
    if key is None and (directory / ".chatapp" / "paseto_key").exists():
        key = signing_key(directory)
    if settings.has_own_services:
        endpoints = find_running(directory)
        if endpoints is None:
            raise NothingToWorkWith
        settings = msgspec.structs.replace(
            settings,
            postgres_db=msgspec.structs.replace(settings.postgres_db, url=Secret(endpoints.database_url)),
            redis=msgspec.structs.replace(settings.redis, url=Secret(endpoints.redis_url)),
        )
    elif not settings.postgres_db.is_configured:
        raise NothingToWorkWith
    return Site(settings, key)


class Operating(Struct, frozen=True):
    """For one command."""

    operators: Operators
    database: Database


@asynccontextmanager
async def operating(
    site: Site, *, lifetime_s: float | None = None, needs_key: bool = False
) -> AsyncIterator[Operating]:
    """Everything that an act needs; at the end the replicas have been told, if Redis is there.

    Without it they read of ended tokens in PostgreSQL within a second. ``lifetime_s``: of tokens that are issued, at
    most that of the settings. Raises ``NoKey``, and ``ValueError`` for a longer lifetime.
    """
    auth = site.settings.auth
    longest_s = auth.token_expiration * 3600
    if lifetime_s is not None and lifetime_s > longest_s:
        # The end of all tokens of a user is remembered for no longer than that.
        raise ValueError(f"a token lasts {auth.token_expiration:g} hours at most (auth.token_expiration)")
    if needs_key and site.key is None:
        raise NoKey
    keyring = Keyring(SigningKey(site.key or os.urandom(32)), [SigningKey(old) for old in auth.old_signing_keys()])
    database = open_database(msgspec.structs.replace(site.settings.postgres_db, pool_size=2))
    redis = site.settings.redis
    bus = EchoBus(open_redis(redis) if redis.is_configured else MemoryBus(MemoryHub()))
    passwords = Passwords(auth.argon2_time_cost, auth.argon2_memory_kib, auth.argon2_parallelism, auth.argon2_queue)
    revoking = Revoking(database, Revocations(lambda: datetime.now(UTC), keyring.accepts), Publisher(bus))
    sessions = Sessions(database, revoking, token_lifetime_s=longest_s, per_user=auth.sessions_per_user)
    tokens = Tokens(keyring, lifetime_s or longest_s)
    try:
        await bus.start(Deaf())
        yield Operating(Operators(database, passwords, tokens, revoking, sessions, who_operates()), database)
        await bus.flush(_FLUSH_S)
    finally:
        await bus.close()
        passwords.close()
        await database.close()


@asynccontextmanager
async def roll_calls(site: Site) -> AsyncIterator[Asking]:
    """Ask the replicas who they are. Raises ``Unavailable`` when Redis is away."""
    bus = EchoBus(open_redis(site.settings.redis))
    asking = Asking(bus)
    try:
        await asking.start()
        yield asking
    finally:
        await bus.close()


def who_operates() -> str:
    """For the audit log: the name on this host, also behind sudo. At most 100 characters."""
    try:
        name = os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):  # containers may run as a number without a name
        name = str(os.getuid())
    return f"{name}@{socket.gethostname()}"[:100]


class Deaf:
    """A ``BusListener`` of who only publishes."""

    def on_deliveries(self, deliveries: Sequence[Delivery]) -> None:
        """Nothing was subscribed."""

    def on_gap(self) -> None:
        """Nothing was subscribed."""
