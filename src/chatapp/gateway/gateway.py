"""The gateway's door: a handshake that was accepted becomes a connection; and what concerns all connections at once."""

from __future__ import annotations

import asyncio
import heapq
import logging
import random
import secrets
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime

from msgspec import Struct

from chatapp.auth.principal import Principal
from chatapp.auth.revocations import Revocation, Revocations
from chatapp.errors import ChatAppError, Draining, TooManyConnections
from chatapp.gateway.admission import Admission, AdmissionStats
from chatapp.gateway.commands import Commands
from chatapp.gateway.connection import Connection, ConnectionLimits
from chatapp.gateway.hub import Hub
from chatapp.gateway.session import Pace
from chatapp.gateway.starting import Starting, refuse_to_start
from chatapp.gateway.transport import Transport
from chatapp.protocol.codes import CloseCode
from chatapp.protocol.events import GoingAway, GoingAwayPayload
from chatapp.protocol.ids import ChatId, ConnectionId, Seq, UserId

_log = logging.getLogger(__name__)


RECONNECTS_PER_S = 500
"""How fast a draining replica sends its clients to the others."""
ANSWER_S = 2.0
"""How long a draining replica waits for the answers to what a client has asked."""
DRAIN_TICK_S = 0.02


class GatewayLimits(Struct, frozen=True):
    """Bounds of one replica's gateway."""

    connections: int = 20_000
    connections_per_user: int = 20
    """The oldest is not closed for a new one; the new one is refused."""
    connecting: int = 1000
    """Connections that wait for their start."""


class Gateway:
    """One for each replica."""

    def __init__(
        self,
        hub: Hub,
        starting: Starting,
        commands: Commands,
        revocations: Revocations,
        clock: Callable[[], float],
        limits: GatewayLimits,
        connection_limits: ConnectionLimits,
        pace: Pace | None = None,
    ) -> None:
        self._hub = hub
        self._starting = starting
        self._commands = commands
        self._revocations = revocations
        self._clock = clock
        self._limits = limits
        self._connection_limits = connection_limits
        self._pace = pace
        self._admission = Admission(limits.connections, limits.connecting)
        self._expiries: list[tuple[float, int, Connection]] = []
        self._count = 0
        self._tasks: set[asyncio.Task[None]] = set()
        """One for each connection that waits for its start."""
        self.stats = commands.stats
        self.draining = False
        """No more sockets are admitted."""
        self._sends_away = False

    # -- connections ----------------------------------------------------------------------------------------------

    @property
    def admission(self) -> AdmissionStats:
        """Who was sent away for want of room."""
        return self._admission.stats

    def admit(self) -> None:
        """Ask before anything is done for a handshake. Raises ``Draining``, ``Overloaded`` or ``ReplicaFull``."""
        if self.draining:
            raise Draining
        self._admission.check(len(self._hub.connections), len(self._tasks), self._clock())

    def admit_user(self, user_id: UserId) -> None:
        """Ask before the handshake of this user is answered. Raises ``TooManyConnections``."""
        if len(self._hub.users.get(user_id, ())) >= self._limits.connections_per_user:
            raise TooManyConnections

    def accept(
        self, principal: Principal, transport: Transport, *, follows_all: bool, resume: Mapping[ChatId, Seq]
    ) -> Connection:
        """A connection whose handshake is done: it is started in the background. ``ended`` must be called later."""
        connection = Connection(
            ConnectionId(secrets.token_urlsafe(9)),
            principal,
            transport,
            self._commands,
            self._connection_limits,
            self._clock,
            follows_all=follows_all,
            on_end=self._hub.remove,
            pace=self._pace,
        )
        self._hub.add(connection)
        self.stats.accepted += 1
        self._count += 1
        heapq.heappush(self._expiries, (principal.expires_at.timestamp(), self._count, connection))
        self._spawn(self._start(connection, resume))
        if self._sends_away:  # it was admitted before, and the others have been told
            self._send_away(connection, 1000)
        _log.debug(
            "connection opened", extra={"connection_id": connection.connection_id, "user_id": connection.user_id}
        )
        return connection

    async def _start(self, connection: Connection, resume: Mapping[ChatId, Seq]) -> None:
        try:
            await self._starting.start(connection, resume)
        except ChatAppError:
            refuse_to_start(connection)
            return
        if self._revocations.is_revoked(connection.principal):  # it happened while the connection was started
            connection.close(CloseCode.UNAUTHORISED, "token revoked")

    # -- tokens ---------------------------------------------------------------------------------------------------

    def revoked(self, revocation: Revocation) -> None:
        """A revocation was heard of: close the sockets that it ends."""
        for connection in self._hub.of_user(revocation.user_id):
            if self._revocations.is_revoked(connection.principal):
                connection.close(CloseCode.UNAUTHORISED, "token revoked")

    def expire(self) -> None:
        """Close the sockets whose token's time is over, and those a delayed revocation has reached. Call it often."""
        now = datetime.now(UTC).timestamp()
        while self._expiries and self._expiries[0][0] <= now:
            connection = heapq.heappop(self._expiries)[2]
            connection.close(CloseCode.UNAUTHORISED, "token expired")
        if len(self._expiries) > 64 and len(self._expiries) > 2 * len(self._hub.connections):
            self._expiries = [entry for entry in self._expiries if not entry[2].closing]
            heapq.heapify(self._expiries)

    def check_revocations(self) -> None:
        """Close every socket whose token is revoked by now."""
        for connection in list(self._hub.connections):
            if self._revocations.is_revoked(connection.principal):
                connection.close(CloseCode.UNAUTHORISED, "token revoked")

    # -- the end --------------------------------------------------------------------------------------------------

    def start_over(self) -> None:
        """Positions became void (another epoch): everybody has to come again."""
        for connection in list(self._hub.connections):
            self._send_away(connection, 1000)
            connection.close(CloseCode.SERVICE_RESTART, "positions are void")
        for live in list(self._hub.rooms.values()):
            self._hub.close_room(live)

    async def drain(self, within_s: float) -> None:
        """Tell everybody when to go elsewhere, each at a time of its own, and close them then, with 1012.

        Until its time a connection is served as ever. Then nothing more is read from it, what it has asked for is
        answered, and it is closed. Returns when all are told to close, at most ``within_s`` plus ``ANSWER_S`` later.
        """
        self.draining = self._sends_away = True
        connections = list(self._hub.connections)
        spread_s = min(within_s, max(1.0, len(connections) / RECONNECTS_PER_S))
        leaving = sorted(((random.uniform(0, spread_s), at) for at in range(len(connections))), reverse=True)  # noqa: S311
        for delay_s, at in leaving:
            self._send_away(connections[at], int(delay_s * 1000))
        began = self._clock()
        busy: list[tuple[float, Connection]] = []
        while leaving or busy:
            elapsed = self._clock() - began
            while leaving and leaving[-1][0] <= elapsed:
                connection = connections[leaving.pop()[1]]
                connection.transport.pause_reading()
                busy.append((elapsed + ANSWER_S, connection))
            still_busy: list[tuple[float, Connection]] = []
            for until, connection in busy:
                if connection.is_busy and elapsed < until and not connection.closing:
                    still_busy.append((until, connection))
                else:
                    connection.close(CloseCode.SERVICE_RESTART, "draining")
            busy = still_busy
            await asyncio.sleep(DRAIN_TICK_S)
        for connection in list(self._hub.connections):  # who came while the port was given up
            connection.close(CloseCode.SERVICE_RESTART, "draining")

    def _send_away(self, connection: Connection, within_ms: int) -> None:
        connection.once_ready(lambda: connection.reply(GoingAway(GoingAwayPayload(within_ms))))

    async def close(self) -> None:
        """End what is under way, and every connection that is left."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in list(self._hub.connections):
            connection.transport.abort()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
