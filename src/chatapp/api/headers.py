"""What every answer carries, those to unknown addresses and to failures too."""

from __future__ import annotations

from litestar.datastructures import MutableScopeHeaders
from litestar.routes import HTTPRoute
from litestar.types import Message, Scope

from chatapp.api.request_id import HEADER, request_id

_EVERYWHERE = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # Answers belong to who asked, and nothing here is a page. A handler of files or pages sets its own.
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
_STARTS = ("http.response.start", "websocket.http.response.start")


async def add_headers(message: Message, scope: Scope) -> None:
    """Complete the head of an answer; what is there already stays."""
    if message["type"] not in _STARTS:
        return
    headers = MutableScopeHeaders.from_message(message)
    if "allow" in headers:
        allowed = _allowed(scope) if scope.get("method") == "OPTIONS" else set(headers["allow"].split(", "))
        headers["Allow"] = ", ".join(sorted(allowed | ({"HEAD"} if "GET" in allowed else set())))  # see ``Head``
    headers[HEADER] = request_id(scope)
    for name, value in _EVERYWHERE.items():
        headers.setdefault(name, value)


def _allowed(scope: Scope) -> set[str]:
    """All methods of the address that was asked.

    Litestar's (2.25) own answer to OPTIONS knows the first of them only where several handlers share an address.
    """
    routes = scope["litestar_app"].routes
    here = [
        route.methods
        for route in routes
        if isinstance(route, HTTPRoute) and route.path_format == scope["path_template"]
    ]
    return set().union(*here)
