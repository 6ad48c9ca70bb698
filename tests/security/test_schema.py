"""The interface is as its description says, whatever is sent: schemathesis, a little of it (more: ``fuzz.py``)."""

from __future__ import annotations

import asyncio

import pytest

from tests.security.fuzz import schemathesis
from tests.security.site import Site


@pytest.mark.timeout(120)
async def test_answers_are_those_of_the_description(place: Site, caplog: pytest.LogCaptureFixture) -> None:
    options = ("--phases", "examples,coverage", "--generation-deterministic", "--max-time", "12", "--warnings", "off")
    status, said = await asyncio.to_thread(schemathesis, f"http://127.0.0.1:{place.node.port}", *options)
    assert status == 0, said
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []
