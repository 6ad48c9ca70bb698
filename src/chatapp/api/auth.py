"""``/auth``: register, log in and out, renew a token, buy a ticket for a socket."""

from __future__ import annotations

from typing import Any

from litestar import Controller, Request, get, post
from litestar.di import NamedDependency
from msgspec import Struct

from chatapp.api import bodies, examples
from chatapp.api.authentication import ANONYMOUS, Call
from chatapp.api.documentation import BEARER, operation
from chatapp.api.parts import RateLimits
from chatapp.api.reading import read
from chatapp.protocol.views import Profile
from chatapp.services.accounts import Accounts, SignedIn
from chatapp.services.sessions import origin
from chatapp.services.tickets import SocketTicket, SocketTickets
from chatapp.storage.sessions import Origin

_ALICE = {"username": "alice", "password": "correct horse battery staple"}


class NewToken(Struct, frozen=True):
    """A token in place of the one that was used."""

    token: str


class AuthController(Controller):
    """Accounts and tokens."""

    path = "/auth"
    tags = ["auth"]  # noqa: RUF012 (Litestar's way)

    @post(
        "/register",
        opt={ANONYMOUS: True},
        summary="Make an account",
        operation_class=operation(
            takes=bodies.Register,
            example={**_ALICE, "display_name": "Alice"},
            gives=examples.SIGNED_IN,
            refuses=(409, 429),
        ),
    )
    async def register(
        self,
        request: Request[Any, Any, Any],
        accounts: NamedDependency[Accounts],
        rate_limits: NamedDependency[RateLimits],
    ) -> SignedIn:
        """User names are unique without regard to case."""
        await rate_limits.register(_address(request))
        body = await read(request, bodies.Register)
        return await accounts.register(body.username, body.password, body.display_name, _origin(request))

    @post(
        "/login",
        opt={ANONYMOUS: True},
        status_code=200,
        summary="Get a token for a password",
        operation_class=operation(
            takes=bodies.Login, example=_ALICE, gives=examples.SIGNED_IN, refuses=(401, 403, 429)
        ),
    )
    async def login(
        self,
        request: Request[Any, Any, Any],
        accounts: NamedDependency[Accounts],
        rate_limits: NamedDependency[RateLimits],
    ) -> SignedIn:
        """The refusal does not tell whether there is such a user, nor does its time.

        403 (``suspended``) is for those who know the password of an account that is shut.
        """
        body = await read(request, bodies.Login)
        async with rate_limits.login(_address(request), body.username):
            return await accounts.login(body.username, body.password, _origin(request))

    @post("/logout", status_code=204, summary="End this token", security=BEARER, operation_class=operation())
    async def logout(self, request: Call, accounts: NamedDependency[Accounts]) -> None:
        """It is refused from now on at every replica with all of its session, and its sockets close."""
        await accounts.logout(request.user)

    @post(
        "/refresh",
        status_code=200,
        summary="Get a new token",
        security=BEARER,
        operation_class=operation(gives=NewToken("v4.local.…")),
    )
    async def refresh(self, request: Call, accounts: NamedDependency[Accounts]) -> NewToken:
        """The old one stays valid for 60 s."""
        return NewToken(await accounts.refresh(request.user, _origin(request)))

    @post(
        "/ws-ticket",
        summary="Get a ticket for a socket",
        security=BEARER,
        operation_class=operation(gives=SocketTicket("v4.local.…")),
    )
    async def ticket(self, request: Call, socket_tickets: NamedDependency[SocketTickets]) -> SocketTicket:
        """For `/ws?ticket=…`, once and within 30 s: for clients that can only put something into the address."""
        return socket_tickets.issue(request.user)

    @get("/me", summary="One's own profile", security=BEARER, operation_class=operation(gives=examples.PROFILE))
    async def me(self, request: Call, accounts: NamedDependency[Accounts]) -> Profile:
        """Who the token belongs to."""
        return await accounts.me(request.user)


def _origin(request: Request[Any, Any, Any]) -> Origin:
    return origin(_address(request), request.headers.get("user-agent", ""))


def _address(request: Request[Any, Any, Any]) -> str:
    """Of the client, as the proxies that are trusted tell it."""
    return request.client.host if request.client else "unknown"
