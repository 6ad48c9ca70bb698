from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.world import World, opened_world


@pytest.fixture(scope="module")
async def world(database_url: str) -> AsyncIterator[World]:
    async with opened_world(database_url) as world:
        yield world


@pytest.fixture(autouse=True)
def nothing_published_yet(request: pytest.FixtureRequest) -> None:
    """For tests of the world; the others need no database and may be no coroutines."""
    if "world" in request.fixturenames:
        request.getfixturevalue("world").bus.forget()
