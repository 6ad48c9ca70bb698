"""Who is asking: ``Authorization: Bearer <token>`` to a ``Principal``."""

from __future__ import annotations

from typing import Any

from litestar import Request
from litestar.datastructures import State
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from chatapp.api.request_id import request_id
from chatapp.auth.principal import Principal
from chatapp.auth.tokens import Tokens
from chatapp.errors import Unauthenticated
from chatapp.services.audit import within_request
from chatapp.services.revoking import Revoking
from chatapp.services.sessions import Sessions

ANONYMOUS = "anonymous"
"""In a handler's ``opt``: may be called without a token."""

Call = Request[Principal, Any, State]
"""A request whose ``user`` is the principal."""


class Authentication(ASGIMiddleware):
    """Refuses what has no valid token, unless the handler is open to everybody."""

    exclude_opt_key = ANONYMOUS

    def __init__(self, tokens: Tokens, revoking: Revoking, sessions: Sessions) -> None:
        self._tokens = tokens
        self._revoking = revoking
        self._sessions = sessions

    def __deepcopy__(self, memo: object) -> Authentication:
        """Litestar copies routers with all that hangs on them: the tokens' memory must stay one."""
        return self

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Set ``scope["user"]``. Raises ``Unauthenticated``."""
        if scope.get("method") != "OPTIONS":
            principal = self._tokens.verify(bearer_token(scope))
            self._revoking.check(principal)
            self._sessions.saw(principal)
            scope["user"] = principal
        with within_request(request_id(scope)):
            await next_app(scope, receive, send)


def bearer_token(scope: Scope) -> str:
    """The token of the ``Authorization`` header. Raises ``Unauthenticated``."""
    given = [value for name, value in scope["headers"] if name == b"authorization"]
    if not given:
        raise Unauthenticated("missing authorization header", code="missing_authorization_header")
    scheme, _, token = given[0].decode("latin-1").partition(" ")
    if len(given) > 1 or scheme.lower() != "bearer" or not token or " " in token:
        raise Unauthenticated("invalid authorization header format", code="invalid_authorization_header")
    return token
