from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack

import pytest

from tests.gateway.replicas import PROTOCOLS, Node, migrated, node
from tests.servers import Databases

StartNode = Callable[..., AbstractAsyncContextManager[Node]]


@pytest.fixture(scope="module")
async def gateway_database(databases: Databases) -> str:
    """A database with its schema, for one module."""
    return await migrated(databases.create("gateway"))


@pytest.fixture(scope="module", params=list(PROTOCOLS))
def protocol(request: pytest.FixtureRequest) -> str:
    """The gateway's own protocol, and any ASGI server's."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
async def pair(gateway_database: str, redis_url: str, protocol: str) -> AsyncIterator[tuple[Node, Node]]:
    """Two replicas."""
    async with AsyncExitStack() as stack:
        one, two = [
            await stack.enter_async_context(
                node(gateway_database, redis_url, protocol, delivery__replay_limit=300, delivery__repair_interval_s=1)
            )
            for _ in range(2)
        ]
        yield one, two


@pytest.fixture(scope="module")
def start_node(gateway_database: str, redis_url: str, protocol: str) -> StartNode:
    """Start a replica with settings of its own."""
    return lambda **settings: node(gateway_database, redis_url, protocol, **settings)
