"""One replica: everything built once, from the ground of the house up, and the tasks that keep it going."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from chatapp.app.company import Company
from chatapp.app.limits import rate_limiter
from chatapp.app.metrics.http import HttpStats
from chatapp.app.metrics.lag import LoopLag
from chatapp.app.report import report
from chatapp.app.tracing import tracer_of
from chatapp.auth.keys import Keyring, SigningKey
from chatapp.auth.passwords import Passwords
from chatapp.auth.principal import Principal
from chatapp.auth.revocations import Revocations
from chatapp.auth.tickets import Tickets
from chatapp.auth.tokens import Tokens
from chatapp.bus.client import open_client
from chatapp.bus.echo import EchoBus
from chatapp.bus.opening import AnyRedisBus, open_bus
from chatapp.bus.presence import PresenceStore, RedisPresence
from chatapp.config import PostgresSettings, RedisSettings, Settings
from chatapp.errors import Unavailable
from chatapp.gateway.commands import Commands
from chatapp.gateway.connection import ConnectionLimits
from chatapp.gateway.following import Following
from chatapp.gateway.gateway import Gateway, GatewayLimits
from chatapp.gateway.heartbeat import Heartbeat
from chatapp.gateway.hub import Hub
from chatapp.gateway.repair import Repair
from chatapp.gateway.starting import Starting
from chatapp.limiting.limiter import RateLimiter
from chatapp.services.accounts import Accounts
from chatapp.services.chats import Chats
from chatapp.services.members import Members
from chatapp.services.messages import Messages, announce
from chatapp.services.publisher import Publisher
from chatapp.services.revoking import Revoking
from chatapp.services.roll_call import Answering
from chatapp.services.sessions import Sessions
from chatapp.services.signals import Signals
from chatapp.services.tickets import SocketTickets
from chatapp.services.users import Users
from chatapp.storage import epochs, probe
from chatapp.storage.engine import Database, PoolSettings
from chatapp.storage.standby import WATCH_S, Standby
from chatapp.storage.writer import MessageWriter
from chatapp.tracing.port import Tracer

_log = logging.getLogger(__name__)

POLL_S = 0.9
"""How often revocations are read from PostgreSQL: within a second they hold everywhere, also without the bus."""
PRUNE_S = 60.0
STANDBY_PATIENCE_MS = 1000
"""What a standby cannot answer in this time the primary is asked for."""


class Replica:
    """Built within a running loop; ``run`` is its life."""

    def __init__(
        self,
        settings: Settings,
        key: bytes,
        database: Database,
        bus: AnyRedisBus,
        epoch: str,
        standby: Standby | None = None,
        tracer: Tracer | None = None,
        presence_store: PresenceStore | None = None,
        name: str = "",
    ) -> None:
        """``presence_store``: None where presence is switched off. ``name``: what operators call it."""
        self.settings = settings
        self.name = name
        self.started_at = datetime.now(UTC)
        self.tracer = tracer
        limits, delivery, auth = settings.limits, settings.delivery, settings.auth
        clock = asyncio.get_running_loop().time
        lifetime_s = auth.token_expiration * 3600

        self.database = database
        self.standby = standby
        self.bus = bus
        self.epoch = epoch
        self.keyring = Keyring(SigningKey(key), [SigningKey(old) for old in auth.old_signing_keys()])
        self.tokens = Tokens(self.keyring, lifetime_s)
        self.passwords = Passwords(
            auth.argon2_time_cost, auth.argon2_memory_kib, auth.argon2_parallelism, auth.argon2_queue
        )
        self.revocations = Revocations(lambda: datetime.now(UTC), self.keyring.accepts)

        self.rate_limiter: RateLimiter | None = rate_limiter(settings)

        heard = self._heard = EchoBus(bus)
        publisher = Publisher(heard, tracer)
        self.writer = MessageWriter(database, lambda stored: announce(publisher, stored), tracer=tracer)
        self.revoking = Revoking(database, self.revocations, publisher)
        self.sessions = Sessions(database, self.revoking, token_lifetime_s=lifetime_s, per_user=auth.sessions_per_user)
        self.socket_tickets = SocketTickets(database, Tickets(self.keyring), self.revoking)
        self.accounts = Accounts(database, self.passwords, self.tokens, self.revoking, self.sessions)
        self.users = Users(database, self.passwords, self.revoking, self.sessions, publisher, standby)
        self.chats = Chats(database, publisher)
        self.members = Members(database, publisher)
        self.messages = Messages(database, self.writer, publisher, limits.content_bytes, standby)

        self.hub = Hub(heard, clock, tracer)
        self.following = Following(
            self.hub,
            database,
            self.messages,
            replay_limit=delivery.replay_limit,
            rooms_per_connection=limits.rooms_per_connection,
        )
        self.repair = Repair(
            self.hub,
            heard,
            database,
            self.messages,
            self.following,
            clock,
            gap_wait_s=delivery.gap_wait_ms / 1000,
            interval_s=delivery.repair_interval_s,
        )
        self.starting = Starting(
            self.hub,
            self.following,
            database,
            heartbeat_s=delivery.heartbeat_s,
            rooms_per_connection=limits.rooms_per_connection,
            epoch=epoch,
            replica=name,
        )
        self.company: Company | None = None
        if presence_store is not None:
            self.company = Company(self.hub, database, publisher, presence_store, settings.presence)
        self.gateway = Gateway(
            self.hub,
            self.starting,
            Commands(
                self.messages,
                self.chats,
                Signals(publisher),
                self.following,
                tracer,
                None if self.company is None else self.company.presence,
            ),
            self.revocations,
            clock,
            GatewayLimits(limits.connections, limits.connections_per_user, limits.connecting),
            ConnectionLimits(limits.backlog_bytes, limits.commands_in_flight, limits.rooms_per_connection),
            self.rate_limiter,
        )
        self.heartbeat = Heartbeat(self.hub, self.gateway, clock, delivery.heartbeat_s)

        self.hub.on_control = self.revoking.hear
        self.hub.on_roll_call = Answering(heard, lambda: report(self), clock).hear
        self.hub.on_missing = self.repair.gap
        self.hub.on_interrupted = self._interrupted
        self.hub.on_joined = self.following.joined
        self.revoking.subscribe(self.gateway.revoked)
        if self.company is not None:
            self.revoking.subscribe(self.company.roll_call.revoked)
        self.repair.on_regression = self._went_back

        self.loop_lag = LoopLag()
        self.http_stats = HttpStats()
        self._tasks: list[asyncio.Task[None]] = []
        self._went_back_task: asyncio.Task[None] | None = None
        self._losses = database.losses

    def authenticate(self, token: str) -> Principal:
        """Whose token this is. Raises ``InvalidToken``."""
        principal = self.tokens.verify(token)
        self.revoking.check(principal)
        self.sessions.saw(principal)
        return principal

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start what has a life of its own, and end it in the opposite order."""
        await self._heard.start(self.hub)
        await self.hub.listen()
        await self.revoking.load()
        self.writer.start()
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self.repair.run(), name="repair"),
            loop.create_task(self.heartbeat.run(), name="heartbeat"),
            loop.create_task(self.loop_lag.run(), name="loop lag"),
            loop.create_task(self._every(POLL_S, self._poll), name="revocations"),
            loop.create_task(self._every(PRUNE_S, self._prune), name="prune"),
            *(() if self.company is None else self.company.start()),
        ]
        if self.standby is not None:
            self._tasks.append(loop.create_task(self._every(WATCH_S, self.standby.watch), name="standby"))
        if self.rate_limiter is not None:
            self._tasks.append(loop.create_task(self.rate_limiter.run(), name="rate limits"))
        try:
            yield
        finally:
            await self.writer.close()
            await self._heard.flush(2.0)
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for part in (self.starting, self.following, self.repair, self.gateway):
                await part.close()
            await self._heard.close()
            if self.rate_limiter is not None:
                await self.rate_limiter.close()
            if self.company is not None:
                await self.company.close()
            self.passwords.close()
            await self.database.close()
            if self.standby is not None:
                await self.standby.close()
            if self.tracer is not None:
                await self.tracer.close()

    def leave(self) -> None:
        """Be not ready, and take no more sockets; all else goes on as before."""
        self.gateway.draining = True

    async def drain(self) -> None:
        """``leave``, store and ack what the writer holds, and send everybody elsewhere."""
        await self.gateway.drain(self.settings.delivery.drain_s)

    # -- probes ---------------------------------------------------------------------------------------------------

    async def probe_database(self) -> float:
        """Seconds for a round trip. Raises ``Unavailable`` when it is away or takes no writes."""
        return await probe.ping(self.database)

    async def probe_bus(self) -> float:
        """Seconds for a round trip. Raises ``Unavailable``."""
        if not self.bus.status.connected:
            raise Unavailable("the bus is away")
        return await self.bus.ping()

    # -- tasks ----------------------------------------------------------------------------------------------------

    async def _every(self, interval_s: float, act: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(interval_s)
            try:
                await act()
            except Unavailable:
                _log.debug("the database is away")
            except Exception:  # noqa: BLE001 (the next round may succeed)
                _log.exception("a periodic task failed")

    async def _poll(self) -> None:
        await self.revoking.poll()
        self.gateway.check_revocations()
        if self._losses != self.database.losses:  # it may be another server now
            losses = self.database.losses
            await self._recognise()
            self._losses = losses

    async def _prune(self) -> None:
        self.tokens.prune(self.revocations.is_revoked)
        if self.rate_limiter is not None:
            self.rate_limiter.prune()
        await self.sessions.flush()
        await self.revoking.prune()
        await self.sessions.prune()
        await self.socket_tickets.prune()
        await self._recognise()

    async def _recognise(self) -> None:
        epoch = await epochs.recognise(self.database)
        if epoch != self.epoch:
            self._begin_epoch(epoch)

    def _interrupted(self) -> None:
        self.repair.interrupted()
        if self.company is not None:
            self.company.roll_call.interrupted()

    def _went_back(self) -> None:
        """PostgreSQL knows less than was delivered: begin another epoch, and let everybody start over."""
        if self._went_back_task is None or self._went_back_task.done():
            self._went_back_task = asyncio.get_running_loop().create_task(self._start_over())

    async def _start_over(self) -> None:
        try:
            epoch = await epochs.recognise(self.database)
            if epoch == self.epoch:
                epoch = await epochs.begin_another(self.database, self.epoch)
        except Unavailable:
            return
        self._begin_epoch(epoch)

    def _begin_epoch(self, epoch: str) -> None:
        if epoch != self.epoch:
            _log.warning("the database went back in time: all clients start over")
            self.epoch = self.starting.epoch = epoch
            self.gateway.start_over()


async def build(settings: Settings, key: bytes, tracer: Tracer | None = None, name: str = "") -> Replica:
    """A replica of this name over the configured PostgreSQL and Redis. Raises ``Unavailable`` when PostgreSQL is.

    It closes the tracer at its end; without one, there is one by the settings.
    """
    database = open_database(settings.postgres_db)
    standby = None
    if (reading := settings.postgres_db.for_reading()) is not None:
        clock = asyncio.get_running_loop().time
        standby = Standby(open_database(reading, patience_ms=STANDBY_PATIENCE_MS), database, clock, reading.read_lag_s)
    bus = open_redis(settings.redis)
    epoch = await epochs.recognise(database)
    store = _presence_store(settings) if settings.presence.enabled else None
    return Replica(settings, key, database, bus, epoch, standby, tracer or tracer_of(settings), store, name)


def _presence_store(settings: Settings) -> PresenceStore:
    redis = settings.redis
    client = open_client(
        redis.mode, redis.connection_url(), nodes=redis.addresses(), sentinel_master=redis.sentinel_master
    )
    return RedisPresence(client, settings.presence.offline_after_s)


def open_redis(redis: RedisSettings) -> AnyRedisBus:
    """The configured bus, not started yet."""
    return open_bus(redis.mode, redis.connection_url(), nodes=redis.addresses(), sentinel_master=redis.sentinel_master)


def open_database(postgres: PostgresSettings, patience_ms: int | None = None) -> Database:
    """The configured database; no connection is opened yet. ``patience_ms`` bounds connects and statements more."""
    arguments = postgres.connect_args()
    if patience_ms is not None:
        arguments["timeout"] = patience_ms / 1000
    return Database(
        postgres.sqlalchemy_url(),
        PoolSettings(
            size=postgres.pool_size,
            timeout_s=postgres.pool_timeout_s,
            statement_timeout_ms=min(postgres.statement_timeout_ms, patience_ms or postgres.statement_timeout_ms),
            lock_timeout_ms=postgres.lock_timeout_ms,
            idle_in_transaction_timeout_ms=postgres.idle_in_transaction_timeout_ms,
            pgbouncer=postgres.pgbouncer,
        ),
        arguments,
    )
