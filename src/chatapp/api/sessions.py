"""``/auth/sessions``: where one is logged in, and ending it."""

from __future__ import annotations

from litestar import Controller, delete, get
from litestar.di import NamedDependency

from chatapp.api import examples
from chatapp.api.authentication import Call
from chatapp.api.documentation import BEARER, PAGE, operation
from chatapp.api.parameters import Query, session_id
from chatapp.protocol.views import Session
from chatapp.services.sessions import Sessions


class SessionsController(Controller):
    """One's own logins."""

    path = "/auth/sessions"
    tags = ["auth"]  # noqa: RUF012 (Litestar's way)
    security = BEARER

    @get("/", summary="List one's own sessions", operation_class=operation(query=PAGE, gives=[examples.SESSION]))
    async def page(self, request: Call, sessions: NamedDependency[Sessions]) -> list[Session]:
        """Newest first. A session is one login with the tokens that were renewed from it."""
        page = Query(request).page()
        return await sessions.page(request.user, limit=page.limit, offset=page.offset)

    @delete(
        "/{session_id:str}",
        summary="End a session",
        operation_class=operation(path=("session_id",), refuses=(404,)),
    )
    async def end(self, request: Call, sessions: NamedDependency[Sessions]) -> None:
        """Its tokens are refused from now on at every replica, and its sockets close."""
        await sessions.end(request.user, session_id(request))

    @delete("/", summary="End all other sessions", operation_class=operation())
    async def end_others(self, request: Call, sessions: NamedDependency[Sessions]) -> None:
        """Every other token of the user ends, at every replica; the one of this request stays."""
        await sessions.end_others(request.user)
