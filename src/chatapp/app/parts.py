"""A replica's parts as the api wants them."""

from __future__ import annotations

from litestar import get
from litestar.handlers import HTTPRouteHandler

from chatapp.api.parts import NoRateLimits, Parts, Probe
from chatapp.api.web import web_handlers
from chatapp.app.metrics.page import MetricsPage
from chatapp.app.replica import Replica


def parts_of(replica: Replica, metrics: MetricsPage) -> Parts:
    """What the routes need of this replica."""
    limits = replica.settings.limits
    return Parts(
        accounts=replica.accounts,
        users=replica.users,
        chats=replica.chats,
        members=replica.members,
        messages=replica.messages,
        tokens=replica.tokens,
        revoking=replica.revoking,
        sessions=replica.sessions,
        socket_tickets=replica.socket_tickets,
        metrics=metrics.text,
        probes={"postgres": Probe(replica.probe_database), "redis": Probe(replica.probe_bus, required=False)},
        draining=lambda: replica.gateway.draining,
        replica=replica.name,
        rate_limits=replica.rate_limiter or NoRateLimits(),
        body_bytes=limits.body_bytes,
        body_timeout_s=limits.body_timeout_s,
        allowed_origins=limits.origins(),
        handlers=[_sockets_health(replica), *(web_handlers() if replica.settings.general.web else ())],
    )


def _sockets_health(replica: Replica) -> HTTPRouteHandler:
    @get("/ws/health", summary="Sockets of this replica", tags=["health"])
    async def sockets_health() -> dict[str, object]:
        users, rooms = len(replica.hub.users), len(replica.hub.rooms)
        return {
            "websocket": {
                "connected_users": users,
                "active_rooms": rooms,
                "connections": len(replica.hub.connections),
                "status": "healthy",
            },
            "message": f"{users} users connected, {rooms} rooms active",
        }

    return sockets_health
