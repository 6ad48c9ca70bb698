"""Two replicas for each module that asks for them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.acceptance.replicas import Replicas, replicas
from tests.servers import Databases


@pytest.fixture(scope="module")
def site(databases: Databases, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    """Where replicas are started, over a database of the module's own."""
    with replicas(tmp_path_factory.mktemp("site"), databases.create("acceptance"), redis_url) as made:
        yield made
