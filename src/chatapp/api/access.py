"""What is said about each request: an id in all that it logs, one line when it was answered, a span where it is traced.

Around the whole application, so that what it cannot route is told too. No query, header or body is: they may hold
tokens, passwords and messages.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from chatapp.api.request_id import request_id
from chatapp.auth.principal import Principal
from chatapp.tracing import spans
from chatapp.tracing.port import Span, Tracer
from chatapp.tracing.work import doing

_log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

PATH_CHARS = 200
"""So much is logged of a path that no route has."""
_PROBES = ("/health", "/api/v1/health", "/metrics", "/ws/health")
"""Asked every second by machines: logged as debug."""


class Access:
    """ASGI, around ``app``; for ``http`` scopes."""

    def __init__(self, app: Callable[[Any, Any, Any], Awaitable[None]], tracer: Tracer | None = None) -> None:
        self._app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on, and tell how it was answered."""
        began = time.perf_counter()
        status: int | None = None
        ids = {"request_id": request_id(scope)}
        span = None if self._tracer is None else self._begin(self._tracer, scope, ids["request_id"])
        if span is not None:
            ids["trace_id"] = span.trace_id

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with doing(ids, span):
            try:
                await self._app(scope, receive, note)
            finally:
                user = scope.get("user")
                user_id = user.user_id if isinstance(user, Principal) else None
                route: str | None = scope.get("path_template") or None
                if span is not None:
                    spans.answered(span, scope["method"], route, status, user_id)
                _tell(scope, route, status, user_id, time.perf_counter() - began)

    def _begin(self, tracer: Tracer, scope: Scope, request: str) -> Span | None:
        given = [value for name, value in scope["headers"] if name == b"traceparent"]
        return spans.request(tracer, scope["method"], request, given[0].decode("latin-1") if len(given) == 1 else None)


def _tell(scope: Scope, route: str | None, status: int | None, user_id: int | None, duration_s: float) -> None:
    level = logging.DEBUG if scope["path"].startswith(_PROBES) else logging.INFO
    if not _log.isEnabledFor(level):
        return
    said: dict[str, object] = {
        "method": scope["method"],
        "route": route,
        "status": status,
        "duration_ms": round(duration_s * 1000, 2),
        "user_id": user_id,
    }
    if route is None:
        said["path"] = scope["path"][:PATH_CHARS]
    _log.log(level, "request", extra=said)
