"""The client: one user of one service, over REST and over sockets."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Collection
from types import TracebackType
from typing import Self

import httpx
from msgspec import Struct

from chatapp.client.addresses import Addresses
from chatapp.client.answers import Health, NewToken, SignedIn
from chatapp.client.backoff import Timing
from chatapp.client.bookmark import Bookmark
from chatapp.client.catching_up import Catching
from chatapp.client.chats import Chats
from chatapp.client.dialling import Dialling
from chatapp.client.errors import ClientError
from chatapp.client.machine import Machine
from chatapp.client.members import Members
from chatapp.client.messages import Messages
from chatapp.client.rest import Rest, decoded
from chatapp.client.session import Session
from chatapp.client.users import Users
from chatapp.protocol.ids import ChatId
from chatapp.protocol.views import Profile


class _Credentials(Struct, frozen=True):
    username: str
    password: str


class _Registration(Struct, frozen=True):
    username: str
    password: str
    display_name: str


class Client:
    """Use it with ``async with``, or ``close`` it. The token is kept in memory, and nowhere else.

    Calls may raise ``Refused`` (its kinds tell what to do), ``Unreachable`` and ``BadAnswer``.
    """

    def __init__(
        self,
        *urls: str,
        token: str | None = None,
        tls: ssl.SSLContext | None = None,
        trust_env: bool = True,
        timeout_s: float = 15.0,
        patience_s: float = 30.0,
    ) -> None:
        """``urls``: of the service, such as ``https://chat.example.org``; several are tried in turn.

        ``tls``: for a certificate of one's own. ``trust_env``: use the proxy that the environment names.
        ``timeout_s``: for one answer over REST; ``patience_s``: for all attempts at it. Raises ``ValueError``.
        """
        self._addresses = Addresses(urls)
        self._tls = tls
        self._trust_env = trust_env
        self._http = httpx.AsyncClient(trust_env=trust_env, timeout=timeout_s, verify=True if tls is None else tls)
        self._rest = Rest(self._addresses, self._http, patience_s)
        self._rest.token = token
        self._rest.renew = self.renew
        self._remembered: _Credentials | None = None
        self._renewing = asyncio.Lock()
        self.users = Users(self._rest)
        self.chats = Chats(self._rest)
        self.members = Members(self._rest)
        self.messages = Messages(self._rest)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connections. Sessions are closed on their own."""
        self._remembered = None
        await self._http.aclose()

    @property
    def token(self) -> str | None:
        """The token in use; None before ``register`` or ``login``."""
        return self._rest.token

    # -- accounts -------------------------------------------------------------------------------------------------

    async def register(
        self, username: str, password: str, display_name: str = "", *, remember: bool = False
    ) -> SignedIn:
        """Make an account, and be logged in. Raises ``Conflict`` where the name is taken. ``remember``: see ``login``.

        Not repeated when its answer is lost: the account may be there already.
        """
        body = _Registration(username, password, display_name)
        content = await self._rest.ask("POST", "/auth/register", body=body, safe=False, with_token=False)
        return self._signed_in(decoded(content, SignedIn), username, password, remember)

    async def login(self, username: str, password: str, *, remember: bool = False) -> SignedIn:
        """Be logged in. Raises ``Unauthenticated``.

        ``remember``: keep the password in memory, to log in again when the token has expired.
        """
        body = _Credentials(username, password)
        content = await self._rest.ask("POST", "/auth/login", body=body, with_token=False)
        return self._signed_in(decoded(content, SignedIn), username, password, remember)

    async def logout(self) -> None:
        """End the token at every replica; sockets that were opened with it close."""
        self._remembered = None
        await self._rest.ask("POST", "/auth/logout", safe=False)
        self._rest.token = None

    async def refresh(self) -> str:
        """Use a new token from now on. The old one stays valid for 60 s."""
        self._rest.token = decoded(await self._rest.ask("POST", "/auth/refresh"), NewToken).token
        return self._rest.token

    async def me(self) -> Profile:
        """One's own profile."""
        return await self._rest.get("/auth/me", Profile)

    async def health(self) -> Health:
        """Whether a replica answers."""
        return decoded(await self._rest.ask("GET", "/health", with_token=False), Health)

    async def renew(self, refused: str) -> bool:
        """Have another token than this one, which was refused: by logging in again, if that is remembered."""
        async with self._renewing:
            if self._rest.token != refused:
                return self._rest.token is not None
            if self._remembered is None:
                return False
            try:
                await self.login(self._remembered.username, self._remembered.password, remember=True)
            except ClientError:
                return False
            return True

    def _signed_in(self, answer: SignedIn, username: str, password: str, remember: bool) -> SignedIn:
        self._rest.token = answer.token
        self._remembered = _Credentials(username, password) if remember else None
        return answer

    # -- what happens ---------------------------------------------------------------------------------------------

    def session(
        self,
        *,
        bookmark: Bookmark | None = None,
        only: Collection[int] | None = None,
        events: int = 1000,
        timing: Timing | None = None,
    ) -> Session:
        """What happens in one's chats, from now on or from ``bookmark`` on, and the way to send.

        ``only``: these chats instead of all. ``events``: how many are kept for a reader who is slow.
        """
        start = bookmark or Bookmark()
        waits = timing or Timing()
        machine = Machine(
            epoch=start.epoch,
            positions=start.positions,
            only=None if only is None else [ChatId(chat_id) for chat_id in only],
            timing=waits,
            addresses=len(self._addresses),
            rng=random.Random(),  # noqa: S311 (jitter)
        )
        return Session(
            self,
            self._addresses.copy(),
            Dialling(self._tls, self._trust_env, waits.open_s),
            machine,
            Catching(self.chats, self.messages),
            bookmark=start,
            events=events,
            tick_s=waits.tick_s,
        )
