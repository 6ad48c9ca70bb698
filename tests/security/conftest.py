from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.gateway.replicas import migrated
from tests.security.site import Site, site
from tests.servers import Databases


@pytest.fixture(scope="module")
async def place(databases: Databases, redis_url: str) -> AsyncIterator[Site]:
    """A replica for one module."""
    async with site(await migrated(databases.create("security")), redis_url) as opened:
        yield opened
