"""Where replicas are started: over the run's servers, or over their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.own_site import OwnSite, own_services
from tests.acceptance.replicas import Replicas, replicas
from tests.servers import Databases


@pytest.fixture(scope="module")
def site(databases: Databases, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    """Where replicas are started, over a database of the module's own."""
    with replicas(tmp_path_factory.mktemp("site"), databases.create("acceptance"), redis_url) as made:
        yield made


@pytest.fixture
def own_site(tmp_path: Path) -> Iterator[OwnSite]:
    """An empty directory for replicas with nothing configured."""
    with own_services(tmp_path) as made:
        yield made
