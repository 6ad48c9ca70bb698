from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.servers import Databases
from tests.world import World, opened_world


@pytest.fixture(scope="module")
async def world(databases: Databases) -> AsyncIterator[World]:
    """On a database of its own: some of these tests end all connections to it."""
    async with opened_world(databases.create("storage")) as world:
        yield world


@pytest.fixture(autouse=True)
def nothing_published_yet(request: pytest.FixtureRequest) -> None:
    """For tests of the world; the others need no database and may be no coroutines."""
    if "world" in request.fixturenames:
        request.getfixturevalue("world").bus.forget()
