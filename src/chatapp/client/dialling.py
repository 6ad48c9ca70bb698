"""Opening the socket, and what it means when that fails."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from msgspec import Struct
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from chatapp.client.addresses import socket_url
from chatapp.client.backoff import Loss
from chatapp.client.rest import refusal_from

_FRAME_BYTES = 8 * 1024 * 1024
_CLOSE_S = 1.0
AWAY = (OSError, TimeoutError, WebSocketException)
"""What opening and using a socket raises."""


class Dialling(Struct, frozen=True):
    """How sockets are opened. ``trust_env``: through the proxy that the environment names."""

    tls: ssl.SSLContext | None
    trust_env: bool
    open_s: float

    @asynccontextmanager
    async def open(self, url: str, query: str, token: str) -> AsyncIterator[ClientConnection]:
        """A socket of the replica at ``url``. Raises one of ``AWAY``. The session's own ping is the heartbeat."""
        async with connect(
            socket_url(url, query),
            additional_headers={"Authorization": f"Bearer {token}"},
            compression=None,
            open_timeout=self.open_s,
            ping_interval=None,
            close_timeout=_CLOSE_S,
            max_size=_FRAME_BYTES,
            ssl=self.tls if url.startswith("https") else None,
            proxy=True if self.trust_env else None,
        ) as socket:
            yield socket


def loss_of(error: BaseException | None, socket: ClientConnection | None = None) -> Loss:
    """Why there is no connection, told by what opening or reading it raised."""
    if isinstance(error, InvalidStatus):
        answer = error.response
        refused = refusal_from(answer.status_code, bytes(answer.body or b""), answer.headers.get("Retry-After"))
        return Loss(refused.error, status=answer.status_code, retry_after_s=refused.retry_after_s)
    if isinstance(error, ConnectionClosed):
        if error.rcvd is None:
            return Loss("the connection broke")
        return Loss(error.rcvd.reason or f"closed with {error.rcvd.code}", code=error.rcvd.code)
    if isinstance(error, TimeoutError):
        return Loss("no answer in time")
    if error is not None:
        return Loss(str(error) or type(error).__name__)
    code = None if socket is None else socket.close_code
    return Loss((socket.close_reason if socket is not None else "") or "the connection was closed", code=code)
