from __future__ import annotations

from tests.bus.conftest import cluster, sentinels

__all__ = ["cluster", "sentinels"]
