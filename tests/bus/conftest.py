"""Servers that the common suite leaves alone, started once and only when a test needs them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bus.private_cluster import PrivateCluster, PrivateSentinels


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateCluster]:
    """Three masters."""
    cluster = PrivateCluster(tmp_path_factory.mktemp("cluster"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.kill()


@pytest.fixture(scope="session")
def sentinels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateSentinels]:
    """A master, two replicas, three Sentinels."""
    sentinels = PrivateSentinels(tmp_path_factory.mktemp("sentinels"))
    try:
        sentinels.start()
        yield sentinels
    finally:
        sentinels.kill()
