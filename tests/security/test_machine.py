"""Random conversations: see ``machine.py``. ``CHATAPP_FUZZ_EXAMPLES`` plays so many new ones instead."""

from __future__ import annotations

import os
import secrets

import pytest
from hypothesis import HealthCheck, given, settings

from tests.gateway.replicas import User
from tests.security.machine import Step, play, steps
from tests.security.site import Site

EXAMPLES = int(os.environ.get("CHATAPP_FUZZ_EXAMPLES", "0"))
_HEALTH = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]


@pytest.fixture(scope="module")
async def people(place: Site) -> list[User]:
    return [await place.node.somebody(name) for name in ("ann", "bob", "eve")]


@pytest.mark.timeout(60 + 2 * EXAMPLES)
@given(script=steps)
@settings(
    max_examples=EXAMPLES or 20,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    suppress_health_check=_HEALTH,
)
async def test_whatever_is_said_the_order_holds_and_every_command_has_its_one_answer(
    place: Site, people: list[User], script: list[Step]
) -> None:
    ann, bob, eve = people
    await play(place, [ann, bob], eve, script, secrets.token_hex(4))
