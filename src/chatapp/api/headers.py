"""What every answer carries, those to unknown addresses and to failures too."""

from __future__ import annotations

from litestar.datastructures import MutableScopeHeaders
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
    headers[HEADER] = request_id(scope)
    for name, value in _EVERYWHERE.items():
        headers.setdefault(name, value)
