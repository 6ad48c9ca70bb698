"""The gateway's own handshake, frames, pings and closes around an endpoint that echoes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from chatapp.gateway.transport import Burst
from chatapp.gateway.wire import TAKE_OVER, Cork, WireProtocol
from tests.gateway.replicas import serving

LIMIT = 1 << 20
"""Some cases send 256 KiB; ``limits.frame_bytes`` is a setting."""


class Echo:
    """Says what it hears."""

    def __init__(self, transport: WireProtocol) -> None:
        self._transport = transport

    def receive(self, text: bytes) -> None:
        self._transport.write(Burst([text]))

    def receive_binary(self, data: bytes) -> None:
        """The product sends none: the frame of a text with the other opcode."""
        self._transport.uncork()
        self._transport.transport.write(b"\x82" + Burst([data]).wire[1:])

    def heard(self) -> None: ...

    def ended(self) -> None: ...


@asynccontextmanager
async def echoing(*, takes_binary: bool, limit: int = LIMIT) -> AsyncIterator[int]:
    """A server that takes binary messages, or refuses them as the product does. Its port."""
    cork = Cork(asyncio.get_running_loop())

    async def endpoint(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":  # a load balancer that looks whether it lives
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
            return
        await receive()
        await send({"type": "websocket.accept"})
        take_over = scope["extensions"][TAKE_OVER]
        echo = Echo(take_over.__self__)
        take_over(echo, limit, cork, echo.receive_binary if takes_binary else None)

    async with serving(endpoint, WireProtocol) as (_, port):
        yield port
