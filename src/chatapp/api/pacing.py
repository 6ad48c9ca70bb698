"""How often a user may ask: each request with a token counts for its user."""

from __future__ import annotations

from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from chatapp.api.authentication import ANONYMOUS
from chatapp.api.parts import RateLimits

RATE = "rate"
"""In a handler's ``opt``: ``send`` for what sends a message; everything else is a ``command``."""


class Pacing(ASGIMiddleware):
    """Refuses what comes too often. Stands after ``Authentication``."""

    exclude_opt_key = ANONYMOUS

    def __init__(self, rate_limits: RateLimits) -> None:
        self._rate_limits = rate_limits

    def __deepcopy__(self, memo: object) -> Pacing:
        """Litestar copies routers with all that hangs on them: the counts must stay one."""
        return self

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Count one request. Raises ``RateLimited``."""
        if scope.get("method") != "OPTIONS":
            handler = scope["route_handler"]
            self._rate_limits.spend("send" if handler.opt.get(RATE) == "send" else "command", scope["user"].user_id)
        await next_app(scope, receive, send)
