"""A few seconds of it: what the well-behaved do, and all that is measured has a number."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.chaos.load import Size
from tests.soak.results import table
from tests.soak.run import Options, run
from tests.soak.sample import Sample

GROWING = ("replica", "PostgreSQL", "Redis", "send to", "loop lag")
"""Lines that seconds say nothing of."""


@pytest.mark.alone
@pytest.mark.timeout(180)
async def test_a_few_seconds_end_in_order_with_a_number_for_everything(tmp_path: Path) -> None:
    file = tmp_path / "samples.jsonl"
    size = Size(clients=8, chats=4, sends_per_s=20.0)
    results = await run(Options(seconds=8.0, seed=1, samples=file, interval_s=0.5, size=size))
    broken = [line for line in results.verdict if not line.ok and not line.what.startswith(GROWING)]
    assert not broken, table(results)
    assert results.acked > 20
    last = msgspec.json.decode(file.read_bytes().splitlines()[-1], type=Sample)
    assert last == results.samples[-1]
    assert {name.partition(":")[0] for name in last.load} >= {"churn", "crowd"}  # attackers may still be registering
    for replica in last.replicas:
        assert min(replica.rss_bytes, replica.fds, replica.tasks, replica.threads, replica.delivered) > 0
