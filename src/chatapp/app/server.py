"""uvicorn around one replica: an ASGI application, and a server that drains before it stops."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from types import FrameType
from typing import Any

import uvicorn

from chatapp.api.access import Access
from chatapp.api.head import Head
from chatapp.api.http import bounded
from chatapp.api.routes import build as build_api
from chatapp.api.sockets import Sockets
from chatapp.app.limits import trusted_hosts
from chatapp.app.metrics.http import CountedHttp
from chatapp.app.metrics.page import MetricsPage
from chatapp.app.parts import parts_of
from chatapp.app.replica import Replica
from chatapp.app.tls import ServerCertificate
from chatapp.config import Settings
from chatapp.gateway.wire import WireProtocol

_log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Application:
    """ASGI: sockets go to the gateway's door, everything else to Litestar. There is no lifespan: the replica has it."""

    def __init__(self, replica: Replica, metrics: MetricsPage) -> None:
        limits = replica.settings.limits
        self.api = build_api(parts_of(replica, metrics))
        """What answers HTTP, with all its routes."""
        self._http = Access(CountedHttp(Head(self.api), replica.http_stats), replica.tracer)
        self._sockets = Sockets(
            replica.gateway,
            replica.authenticate,
            replica.socket_tickets,
            allowed_origins=limits.origins(),
            frame_bytes=limits.frame_bytes,
            backlog_bytes=limits.backlog_bytes,
            limits=replica.rate_limiter,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "websocket":
            await self._sockets(scope, receive, send)
        else:
            await self._http(scope, receive, send)


def uvicorn_config(
    settings: Settings, application: Application, certificate: ServerCertificate | None = None
) -> uvicorn.Config:
    """How uvicorn serves: see the reasons beside each setting. Without a certificate, plain HTTP."""
    general = settings.general
    return uvicorn.Config(
        application,
        host=general.host,
        port=general.port,
        loop="uvloop",
        http=bounded(settings.limits.headers_timeout_s),
        ws=WireProtocol,
        ws_per_message_deflate=False,  # every event would be compressed for every client
        ws_max_size=settings.limits.frame_bytes,
        ws_ping_interval=None,  # the gateway's own heartbeat, which hears frames as well as pongs
        lifespan="off",  # the replica runs around the server
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=True,
        proxy_headers=True,
        forwarded_allow_ips=trusted_hosts(general.trusted_proxies),
        timeout_keep_alive=75,  # longer than a proxy keeps an idle connection
        timeout_graceful_shutdown=5,
        backlog=4096,
        ssl_context_factory=None if certificate is None else lambda config, default: certificate.context,
    )


class Server(uvicorn.Server):
    """Drains on the first signal; ends at once on the second."""

    def __init__(self, config: uvicorn.Config, replica: Replica) -> None:
        super().__init__(config)
        self._replica = replica

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """See uvicorn: it is called for each signal."""
        if self.should_exit:
            self.force_exit = True
        else:
            self._captured_signals.append(sig)
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Be not ready, then take no new connections, send everybody elsewhere, and close what is left.

        Requests are answered all the while. The port is given up only when load balancers have had ``lame_duck_s`` to
        see that this replica is not ready: closing it resets the connections that the kernel has taken and nobody
        accepted yet, and a balancer that has sent a request over such a one cannot know that nothing was done. Who
        presses Ctrl-C has no balancer to wait for.
        """
        self._replica.leave()
        if signal.SIGINT not in self._captured_signals:
            await self._unless_forced(asyncio.sleep(self._replica.settings.delivery.lame_duck_s))
        for server in self.servers:
            server.close()
        for listening in sockets or ():
            listening.close()
        await self._unless_forced(self._replica.drain())
        await super().shutdown(None)

    async def _unless_forced(self, what: Coroutine[Any, Any, None]) -> None:
        """Wait for it until the second signal comes."""
        task = asyncio.get_running_loop().create_task(what)
        while not task.done() and not self.force_exit:
            await asyncio.wait((task,), timeout=0.1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
