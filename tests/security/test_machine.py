"""Random conversations: see ``machine.py``. ``CHATAPP_FUZZ_SECONDS`` makes it as long as wanted, with new ones."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings

from tests.gateway.replicas import User
from tests.security.machine import Step, play, steps
from tests.security.site import Site

SECONDS = float(os.environ.get("CHATAPP_FUZZ_SECONDS", "0"))
_END = time.monotonic() + SECONDS
_HEALTH = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]


@pytest.fixture(scope="module")
async def people(place: Site) -> AsyncIterator[list[User]]:
    yield [await place.node.somebody(name) for name in ("ann", "bob", "eve")]


@pytest.mark.timeout(max(60, SECONDS * 2 + 60))
@given(script=steps)
@settings(
    max_examples=100_000 if SECONDS else 25,
    derandomize=not SECONDS,
    database=None,
    deadline=None,
    suppress_health_check=_HEALTH,
)
async def test_whatever_is_said_the_order_holds_and_every_command_has_its_one_answer(
    place: Site, people: list[User], script: list[Step]
) -> None:
    if SECONDS and time.monotonic() > _END:
        return
    ann, bob, eve = people
    await play(place, [ann, bob], eve, script, secrets.token_hex(4))
