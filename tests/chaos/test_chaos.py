"""Short runs for every change; longer ones by hand, see ``run``."""

from __future__ import annotations

import pytest

from tests.chaos.js import node
from tests.chaos.load import Size
from tests.chaos.redis_sites import RedisMode
from tests.chaos.report import table
from tests.chaos.run import Options, run


@pytest.mark.alone
@pytest.mark.chaos
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("redis", "seed"), [("single", 1), ("sentinel", 2), ("cluster", 3)])
async def test_nothing_acked_is_lost_doubled_or_reordered_whatever_dies(redis: RedisMode, seed: int) -> None:
    """A third of the clients are the product's own in Python, a sixth ``chatapp.js`` where there is a node for it."""
    size = Size(sdk_clients=8, js_clients=4 if node() is not None else 0)
    report = await run(Options(seconds=12, seed=seed, redis=redis, size=size))
    print(table(report))
    assert report.ok, table(report)
    assert report.acked > 100
