"""Whether this replica lives, whether it may be sent clients, and its metrics."""

from __future__ import annotations

import asyncio
import time

from litestar import Controller, Response, get
from litestar.di import NamedDependency
from msgspec import Struct
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from chatapp.api.authentication import ANONYMOUS
from chatapp.api.documentation import operation
from chatapp.api.parts import Parts, Probe
from chatapp.errors import Unavailable

_PROBE_TIMEOUT_S = 2.5


class Health(Struct, frozen=True):
    """``timestamp``: Unix seconds."""

    status: str
    timestamp: int
    service: str = "chat-app-backend"


class Alive(Struct, frozen=True):
    """The process answers."""

    status: str = "ok"


class Check(Struct, frozen=True):
    """One thing that readiness depends on. ``latency_ms`` of one round trip, where it answered."""

    ok: bool
    required: bool
    latency_ms: float | None


class Readiness(Struct, frozen=True, omit_defaults=True):
    """``ready``; ``degraded`` (ready, but something that is not required is away); ``unavailable``, ``draining``."""

    status: str
    draining: bool
    checks: dict[str, Check]
    replica: str = ""
    """Which one answered."""


class HealthController(Controller):
    """For load balancers and people. Open to everybody."""

    path = "/health"
    opt = {ANONYMOUS: True}  # noqa: RUF012 (Litestar's way)
    tags = ["health"]  # noqa: RUF012

    @get(
        "/",
        summary="Say hello",
        operation_class=operation(gives=Health("ok", 1795339800)),
    )
    async def health(self) -> Health:
        """The process answers; nothing else is looked at."""
        return Health("ok", int(time.time()))

    @get("/live", summary="Is the process alive?", operation_class=operation(gives=Alive()))
    async def live(self) -> Alive:
        """Ask this to know whether to restart the process."""
        return Alive()

    @get(
        "/ready",
        summary="May it be sent clients?",
        operation_class=operation(
            gives=Readiness(
                "ready", False, {"postgres": Check(True, True, 0.4), "redis": Check(True, False, 0.2)}, "chat-1:8080"
            )
        ),
    )
    async def ready(self, parts: NamedDependency[Parts]) -> Response[Readiness]:
        """503 while the replica drains, or something that it cannot do without is away."""
        readiness = await _readiness(parts)
        if readiness.status in ("ready", "degraded"):
            return Response(readiness, status_code=200)
        return Response(readiness, status_code=503, headers={"Retry-After": "1"})


@get(
    "/metrics",
    opt={ANONYMOUS: True},
    tags=["health"],
    summary="Metrics of this host's replicas",
    media_type="text/plain",
    operation_class=operation(),
)
async def metrics(parts: NamedDependency[Parts]) -> Response[bytes]:
    """Prometheus' text format."""
    return Response(await parts.metrics(), media_type=CONTENT_TYPE_PLAIN_0_0_4)


async def _readiness(parts: Parts) -> Readiness:
    probes, draining = parts.probes, parts.draining()
    found = await asyncio.gather(*(_check(probe) for probe in probes.values()))
    checks = dict(zip(probes, found, strict=True))
    if draining:
        status = "draining"
    elif any(check.required and not check.ok for check in found):
        status = "unavailable"
    else:
        status = "ready" if all(check.ok for check in found) else "degraded"
    return Readiness(status, draining, checks, parts.replica)


async def _check(probe: Probe) -> Check:
    try:
        async with asyncio.timeout(_PROBE_TIMEOUT_S):
            latency_s = await probe.check()
    except (Unavailable, TimeoutError):
        return Check(False, probe.required, None)
    return Check(True, probe.required, round(latency_s * 1000, 2))
