"""Counts HTTP requests: an ASGI application around another one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from time import monotonic
from typing import Any

from msgspec import Struct, field

from chatapp.counting import Histogram

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
NO_ROUTE = "none"
"""Of addresses that have no route: what strangers ask for must not make new series."""
ABANDONED = 499
"""The status of a request whose client went away before an answer began."""


class HttpStats(Struct):
    """Counters since the start, for metrics."""

    in_flight: int = 0
    answered: dict[tuple[str, str, int], int] = field(default_factory=dict)
    """By route, method and status."""
    duration_s: dict[tuple[str, str], Histogram] = field(default_factory=dict)
    """By route and method."""

    def count(self, route: str, method: str, status: int, duration_s: float) -> None:
        """One request was answered."""
        key = (route, method, status)
        self.answered[key] = self.answered.get(key, 0) + 1
        spread = self.duration_s.get((route, method))
        if spread is None:
            spread = self.duration_s[route, method] = Histogram()
        spread.observe(duration_s)


class CountedHttp:
    """Litestar leaves the route's template in the scope (``path_template``, Litestar 2.25)."""

    def __init__(self, inner: Callable[[Any, Any, Any], Awaitable[None]], stats: HttpStats) -> None:
        self._inner = inner
        self._stats = stats

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        status = ABANDONED

        async def count_and_send(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        began = monotonic()
        self._stats.in_flight += 1
        try:
            await self._inner(scope, receive, count_and_send)
        finally:
            self._stats.in_flight -= 1
            method = scope["method"]
            self._stats.count(
                scope.get("path_template") or NO_ROUTE,
                method if method in _METHODS else "other",
                status,
                monotonic() - began,
            )
