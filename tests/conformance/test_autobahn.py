"""The protocol is RFC 6455's: every case of the Autobahn suite that concerns it, directly and through HAProxy."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import haproxy
from tests.conformance.cases import failed, run
from tests.conformance.echo import echoing

CASES = 247
BINARY_MESSAGES = [f"1.2.{number}" for number in range(1, 9)]


async def test_every_case_passes() -> None:
    async with echoing(takes_binary=True) as port:
        outcomes = await run(port)
    assert failed(outcomes) == []
    assert len(outcomes) == CASES


async def test_a_server_that_takes_text_alone_fails_where_binary_is_echoed_and_nowhere_else() -> None:
    async with echoing(takes_binary=False) as port:
        outcomes = await run(port, 1, 2, 3, 4, 7, 10)
    assert failed(outcomes) == BINARY_MESSAGES


@pytest.mark.skipif(not haproxy.is_there(), reason="neither a haproxy nor its image is here")
async def test_every_case_passes_through_the_load_balancer(tmp_path: Path) -> None:
    async with echoing(takes_binary=True) as behind, haproxy.in_front_of(behind, directory=tmp_path) as port:
        outcomes = await run(port)
    assert failed(outcomes) == []
    assert len(outcomes) == CASES
