"""A whole replica in this process, on a real port, and everybody who may come to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
from msgspec import Struct

from chatapp.api.http import BoundedHttpProtocol
from chatapp.app.metrics.collector import collect
from chatapp.app.metrics.page import Crew, MetricsPage
from chatapp.app.metrics.text import render
from chatapp.app.replica import build
from chatapp.app.server import Application
from chatapp.config import load
from chatapp.gateway.wire import WireProtocol
from tests.gateway.replicas import Node, User, serving

HARMLESS = {
    "auth__argon2_memory_kib": 64,
    "auth__argon2_time_cost": 1,
    "auth__argon2_parallelism": 1,
    "auth__sessions_per_user": 1000,
    "limits__connections_per_user": 1000,
    "rate_limits__enabled": "false",
}


class Site(Struct, frozen=True, eq=False):
    """One replica with its REST interface and its sockets."""

    node: Node
    http: httpx.AsyncClient
    app: Application

    async def ask(
        self,
        method: str,
        path: str,
        who: User | None = None,
        body: object = None,
        content: bytes | None = None,
        headers: Mapping[str, str | bytes] | None = None,
    ) -> httpx.Response:
        """A request below ``/api/v1`` (or not, with ``//`` in front), as JSON or of these very bytes."""
        given: dict[str, str | bytes] = dict(headers or {})
        if who is not None:
            given.setdefault("authorization", f"Bearer {who.token}")
        raw = [(name.encode(), text if isinstance(text, bytes) else text.encode()) for name, text in given.items()]
        address = path[1:] if path.startswith("//") else f"/api/v1{path}"
        if content is not None:
            return await self.http.request(method, address, content=content, headers=raw)
        body_of: dict[str, Any] = {} if body is None else {"json": body}
        return await self.http.request(method, address, headers=raw, **body_of)


@asynccontextmanager
async def site(database_url: str, redis_url: str, **settings: object) -> AsyncIterator[Site]:
    """Over a migrated database. ``settings``: such as ``limits__content_bytes``."""
    environment = {"DATABASE_URL": database_url, "REDIS_URL": redis_url}
    environment.update({f"CHATAPP_{key.upper()}": str(value) for key, value in {**HARMLESS, **settings}.items()})
    replica = await build(load(None, environment), b"k" * 32)
    app = Application(replica, MetricsPage(Crew(), lambda: render(collect(replica), 0)))
    async with (
        replica.running(),
        serving(app, WireProtocol, http=BoundedHttpProtocol, server_header=False) as (_, port),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=10) as http,
    ):
        yield Site(Node(replica, port), http, app)
