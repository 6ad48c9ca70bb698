"""The socket's handshake: who may open one, and how it becomes a connection of the gateway. Plain ASGI, no framework.

What is refused is answered in HTTP before the upgrade (the ASGI extension ``websocket.http.response``).
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from typing import Any, Protocol
from urllib.parse import parse_qs

from msgspec import Struct

from chatapp.api.request_id import HEADER, request_id
from chatapp.auth.principal import Principal
from chatapp.auth.tickets import Ticket
from chatapp.errors import InvalidToken, RateLimited, Unavailable
from chatapp.gateway.gateway import Gateway
from chatapp.gateway.transport import AsgiTransport
from chatapp.gateway.wire import TAKE_OVER, Cork
from chatapp.protocol.codes import CloseCode
from chatapp.protocol.ids import MAX_INT64, ChatId, Seq
from chatapp.services.tickets import SocketTickets
from chatapp.tracing.work import doing

_log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

SUBPROTOCOL = "chatapp.v1"
PATHS = ("/ws", "/api/v1/ws")
RESUME_LIMIT = 500


class Refusal(Exception):
    """The handshake is answered with this status instead of an upgrade."""

    def __init__(self, status: int, error: str, code: str, retry_after_s: int | None = None) -> None:
        super().__init__(error)
        self.status = status
        self.code = code
        self.body = json.dumps({"error": error, "code": code}).encode()
        self.retry_after_s = retry_after_s


class HandshakeLimits(Protocol):
    """How often sockets may be opened. Both raise ``RateLimited``."""

    def handshake(self, address: str) -> None:
        """Count one from this address."""

    def connect(self, user_id: int) -> None:
        """Count one of this user."""


class Handshake(Struct, frozen=True):
    """A request that may become a connection."""

    principal: Principal
    subprotocol: str | None
    follows_all: bool
    resume: Mapping[ChatId, Seq]
    ticket: Ticket | None = None
    """What it came with instead of a token: to be used up before it is accepted."""


class Sockets:
    """The ASGI application for ``websocket`` scopes."""

    def __init__(
        self,
        gateway: Gateway,
        authenticate: Callable[[str], Principal],
        tickets: SocketTickets,
        *,
        allowed_origins: Collection[str],
        frame_bytes: int,
        backlog_bytes: int,
        limits: HandshakeLimits | None = None,
    ) -> None:
        self._gateway = gateway
        self._authenticate = authenticate
        self._tickets = tickets
        self._allowed_origins = frozenset(allowed_origins)
        self._frame_bytes = frame_bytes
        self._backlog_bytes = backlog_bytes
        self._limits = limits
        self._cork = Cork(asyncio.get_running_loop())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one handshake, and under a server without ``TAKE_OVER`` serve the connection to its end."""
        with doing({"request_id": request_id(scope)}):
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            handshake = self._examine(scope)
            if handshake.ticket is not None:
                await self._spend(handshake.ticket)
        except Refusal as refusal:
            self._gateway.stats.refused_handshake(refusal.status)
            await _refuse(scope, receive, send, refusal)
            return
        except (RateLimited, Unavailable) as error:
            later = _later(error)
            self._gateway.stats.refused_handshake(later.status)
            await _refuse(scope, receive, send, later)
            return
        await receive()
        accept: dict[str, Any] = {"type": "websocket.accept"}
        if handshake.subprotocol is not None:
            accept["subprotocol"] = handshake.subprotocol
        await send(accept)
        take_over = scope.get("extensions", {}).get(TAKE_OVER)
        if take_over is None:
            await self._serve(handshake, receive, send)
            return
        transport = take_over.__self__
        connection = self._gateway.accept(
            handshake.principal, transport, follows_all=handshake.follows_all, resume=handshake.resume
        )
        take_over(connection, self._frame_bytes, self._cork)

    # -- the handshake --------------------------------------------------------------------------------------------

    def _examine(self, scope: Scope) -> Handshake:
        """Whether this request may become a connection. Raises ``Refusal``, ``RateLimited`` or ``Unavailable``."""
        if scope["path"] not in PATHS:
            raise Refusal(404, "not found", "not_found")
        self._gateway.admit()
        if self._limits is not None:
            client = scope.get("client")
            self._limits.handshake(client[0] if client else "unknown")
        headers: dict[bytes, bytes] = dict(scope["headers"])
        self._check_origin(headers.get(b"origin"))
        try:
            query = parse_qs(
                scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True, max_num_fields=20
            )
        except ValueError:
            raise Refusal(400, "the query has too many fields", "malformed") from None
        offered: list[str] = list(scope.get("subprotocols", ()))
        token = _token(query, headers, offered)
        ticket = None
        try:
            if token:
                principal = self._authenticate(token)
            elif query.get("ticket", [""])[-1]:
                ticket = self._tickets.open(query["ticket"][-1])
                principal = ticket.principal
            else:
                raise Refusal(401, "missing token", "missing_token")
        except InvalidToken as error:
            raise Refusal(401, error.error, error.code) from None
        self._gateway.admit_user(principal.user_id)
        if self._limits is not None:
            self._limits.connect(principal.user_id)
        follow = query.get("follow", ["all"])[-1]
        if follow not in ("all", "none"):
            raise Refusal(400, "follow is all or none", "validation_failed")
        return Handshake(
            principal=principal,
            subprotocol=SUBPROTOCOL if SUBPROTOCOL in offered else None,
            follows_all=follow == "all",
            resume=_resume(query.get("resume", [""])[-1]),
            ticket=ticket,
        )

    async def _spend(self, ticket: Ticket) -> None:
        """The one thing in a handshake that has to be asked of the database. Raises ``Refusal``."""
        try:
            await self._tickets.spend(ticket)
        except InvalidToken as error:
            raise Refusal(401, error.error, error.code) from None
        except Unavailable as error:
            raise Refusal(503, error.error, error.code, 1) from None

    def _check_origin(self, origin: bytes | None) -> None:
        """Browsers say where a page comes from, and nobody else has to (RFC 6455 section 10.2)."""
        if origin is None or "*" in self._allowed_origins:
            return
        if origin.decode("latin-1").lower() not in self._allowed_origins:
            raise Refusal(403, "origin not allowed", "origin_not_allowed")

    # -- without a protocol of ours -------------------------------------------------------------------------------

    async def _serve(self, handshake: Handshake, receive: Receive, send: Send) -> None:
        """The connection over plain ASGI: one task reads, one writes."""

        async def send_text(text: str) -> None:
            await send({"type": "websocket.send", "text": text})

        async def send_close(code: int, reason: str) -> None:
            await send({"type": "websocket.close", "code": code, "reason": reason})

        transport = AsgiTransport(send_text, send_close, drained_bytes=self._backlog_bytes // 4)
        connection = self._gateway.accept(
            handshake.principal, transport, follows_all=handshake.follows_all, resume=handshake.resume
        )
        writer = asyncio.get_running_loop().create_task(transport.run())
        reader = asyncio.get_running_loop().create_task(self._read(connection.receive, transport, receive))
        try:
            await asyncio.wait((reader, writer), return_when=asyncio.FIRST_COMPLETED)
            if not writer.done() and transport.is_closing:
                await asyncio.wait((writer,), timeout=5.0)
        finally:
            for task in (reader, writer):
                task.cancel()
            await asyncio.gather(reader, writer, return_exceptions=True)
            connection.ended()

    async def _read(self, take: Callable[[bytes], None], transport: AsgiTransport, receive: Receive) -> None:
        while True:
            await transport.readable()
            message = await receive()
            if message["type"] == "websocket.disconnect":
                transport.closed_with = transport.closed_with or message.get("code")
                return
            text = message.get("text")
            if text is None:
                transport.close(CloseCode.UNSUPPORTED, "text frames only")
                return
            data = text.encode()
            if len(data) > self._frame_bytes:
                transport.close(CloseCode.TOO_LARGE, "frame too large")
                return
            take(data)


def _later(error: RateLimited | Unavailable) -> Refusal:
    """Come back after some time: 429 where it is for what this user or address did, else 503."""
    status = 429 if isinstance(error, RateLimited) else 503
    return Refusal(status, error.error, error.code_word, max(1, math.ceil(error.retry_after_s)))


def _token(query: Mapping[str, list[str]], headers: Mapping[bytes, bytes], offered: list[str]) -> str | None:
    """From ``?token=``, ``Authorization: Bearer``, or a subprotocol ``bearer.<token>``, in this order."""
    if "token" in query:
        return query["token"][-1]
    scheme, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    for protocol in offered:
        if protocol.startswith("bearer."):
            return protocol.removeprefix("bearer.")
    return None


def _resume(text: str) -> dict[ChatId, Seq]:
    """Read ``<chat>:<seq>,…``. Raises ``Refusal``."""
    positions: dict[ChatId, Seq] = {}
    if not text:
        return positions
    for part in text.split(","):
        chat, _, seq = part.partition(":")
        if not (_is_number(chat) and _is_number(seq)) or len(positions) >= RESUME_LIMIT or int(chat) == 0:
            raise Refusal(400, "resume is a list of <chat>:<seq>, at most 500", "validation_failed")
        positions[ChatId(int(chat))] = Seq(int(seq))
    return positions


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 19 and int(text) <= MAX_INT64


async def _refuse(scope: Scope, receive: Receive, send: Send, refusal: Refusal) -> None:
    """Answer in HTTP, or close where the server cannot (then the client sees a 403)."""
    await receive()
    _log.info("handshake refused", extra={"status": refusal.status, "code": refusal.code})
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008})
        return
    headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
    headers.append((HEADER.lower().encode(), request_id(scope).encode()))
    if refusal.retry_after_s is not None:
        headers.append((b"retry-after", str(refusal.retry_after_s).encode()))
    await send({"type": "websocket.http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": refusal.body})
