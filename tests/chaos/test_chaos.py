"""Short runs for every change; longer ones by hand, see ``run``."""

from __future__ import annotations

import pytest

from tests.chaos.load import Size
from tests.chaos.redis_sites import RedisMode
from tests.chaos.report import table
from tests.chaos.run import Options, run


@pytest.mark.alone
@pytest.mark.chaos
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("redis", "seed", "sdk_clients"), [("single", 1, 12), ("sentinel", 2, 0), ("cluster", 3, 0)])
async def test_nothing_acked_is_lost_doubled_or_reordered_whatever_dies(
    redis: RedisMode, seed: int, sdk_clients: int
) -> None:
    """``sdk_clients``: so many of the 24 are the product's own client, the others the one that is written for this."""
    report = await run(Options(seconds=12, seed=seed, redis=redis, size=Size(sdk_clients=sdk_clients)))
    print(table(report))
    assert report.ok, table(report)
    assert report.acked > 100
