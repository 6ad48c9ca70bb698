"""What the application is made of, handed over by the composition root."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, Protocol, runtime_checkable

from msgspec import Struct

from chatapp.auth.tokens import Tokens
from chatapp.limiting.limiter import Kind
from chatapp.services.accounts import Accounts
from chatapp.services.chats import Chats
from chatapp.services.members import Members
from chatapp.services.messages import Messages
from chatapp.services.revoking import Revoking
from chatapp.services.sessions import Sessions
from chatapp.services.tickets import SocketTickets
from chatapp.services.users import Users


@runtime_checkable
class RateLimits(Protocol):
    """Bounds how often somebody may do something. Every method raises ``RateLimited``."""

    def spend(self, kind: Kind, user_id: int) -> None:
        """Count a user's request: the sending of a message, or another. Waits for nothing."""

    async def register(self, address: str) -> None:
        """Count a registration from this address."""

    def login(self, address: str, username: str) -> AbstractAsyncContextManager[None]:
        """Around an attempt to log in; ``InvalidCredentials`` from within counts against address and account."""


class NoRateLimits:
    """As often as anybody likes."""

    def spend(self, kind: Kind, user_id: int) -> None:
        """Count nothing."""

    async def register(self, address: str) -> None:
        """Count nothing."""

    def login(self, address: str, username: str) -> AbstractAsyncContextManager[None]:
        """Count nothing."""
        return nullcontext()


class Probe(Struct, frozen=True):
    """One thing that readiness depends on."""

    check: Callable[[], Awaitable[float]]
    """Seconds for one round trip, within 2 s. Raises ``Unavailable``."""
    required: bool = True
    """Whether the replica is of no use without it; else it is only reported."""


class Parts(Struct, frozen=True, kw_only=True):
    """Everything that routes need. The owner starts and ends what is in it, in ``lifespan`` or around the server."""

    accounts: Accounts
    users: Users
    chats: Chats
    members: Members
    messages: Messages
    tokens: Tokens
    revoking: Revoking
    sessions: Sessions
    socket_tickets: SocketTickets
    metrics: Callable[[], Awaitable[bytes]]
    """In Prometheus' text format."""
    probes: Mapping[str, Probe]
    draining: Callable[[], bool] = lambda: False
    """Whether this replica is about to stop and wants no new clients."""
    replica: str = ""
    """Its name, for who asks whether it is ready."""
    rate_limits: RateLimits = NoRateLimits()
    body_bytes: int = 1048576
    """A longer body is answered with 413."""
    body_timeout_s: float = 30.0
    """A body that takes longer to arrive is answered with 408."""
    allowed_origins: Sequence[str] = ("*",)
    openapi: bool = True
    """Serve the description of the interface, and its page, at ``/schema``."""
    handlers: Sequence[Any] = ()
    """Further handlers beside these routes, without their authentication: the sockets, the web client."""
    lifespan: Sequence[Callable[[Any], Any]] = ()
