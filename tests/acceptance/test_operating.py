"""Operators' commands beside running replicas."""

from __future__ import annotations

import asyncio
import json
import subprocess
from typing import Any

import httpx
import pytest

from tests.acceptance.client import PASSWORD, rests, socket
from tests.acceptance.own_site import OwnSite
from tests.acceptance.replicas import CHATAPP, ReplicaProcess, Replicas, bare_environment

pytestmark = [pytest.mark.alone, pytest.mark.timeout(120)]


def command(site: Replicas, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [CHATAPP, *words],
        cwd=site.directory,
        env={**bare_environment(), **site.environment, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture(scope="module")
def pair(site: Replicas) -> tuple[ReplicaProcess, ReplicaProcess]:
    named = site.begin(CHATAPP_GENERAL__REPLICA_NAME="the-named-one")
    (other,) = site.start(1)
    return named.wait_ready(), other


async def test_a_replica_is_known_by_its_name(site: Replicas, pair: tuple[ReplicaProcess, ReplicaProcess]) -> None:
    named, other = pair
    ready = [httpx.get(f"{one.url}/health/ready", trust_env=False).json() for one in pair]
    assert ready[0]["replica"] == "the-named-one"
    assert ready[1]["replica"].endswith(f":{other.port}")
    async with rests(named) as (rest,):
        ann = await rest.register("ann")
        async with socket(named, ann) as listening:
            assert listening.ready["replica"] == "the-named-one"
    assert '"replica": "the-named-one"' in named.output
    assert 'replica="the-named-one"' in httpx.get(f"{named.url}/metrics", trust_env=False).text


async def test_doctor_and_stats_hear_all_replicas(site: Replicas, pair: tuple[ReplicaProcess, ReplicaProcess]) -> None:
    async with rests(*pair) as (rest, _):
        ann = await rest.register("ann")
    examined, counted = await asyncio.gather(
        asyncio.to_thread(
            command,
            site,
            *("doctor", "--json", "--probe", ann.username, "--url", pair[1].url),
            CHATAPP_PASSWORD=PASSWORD,
        ),
        asyncio.to_thread(command, site, "stats", "--json", "--interval", "3", "--wait", "1"),
    )
    shown: dict[str, Any] = json.loads(examined.stdout)
    assert shown["ok"], shown["findings"]
    assert examined.returncode == 0
    names = [one["report"]["name"] for one in shown["replicas"]]
    assert "the-named-one" in names
    assert len(names) == 2
    assert all(abs(one["clock_ahead_s"]) < 0.5 for one in shown["replicas"])
    assert len([finding for finding in shown["findings"] if finding["part"] == "message"]) == 4
    rates = json.loads(counted.stdout)
    assert [one["replica"] for one in rates["replicas"]] == names
    assert set(rates["total"]) >= {"connections", "messages_per_s", "ack_p50_ms", "ack_p99_ms", "loop_lag_ms"}


async def test_who_is_suspended_is_out_at_once(site: Replicas, pair: tuple[ReplicaProcess, ReplicaProcess]) -> None:
    async with rests(*pair) as (rest, _):
        bob = await rest.register("bob")
    async with socket(pair[1], bob) as listening:
        done = await asyncio.to_thread(command, site, "user", "suspend", bob.username)
        assert done.returncode == 0, done.stderr
        assert await listening.closed_with() == 4401


async def test_a_replica_with_own_services_is_looked_after_from_its_directory(own_site: OwnSite) -> None:
    replica = await asyncio.to_thread(own_site.begin().wait_ready)
    beside = Replicas(own_site.directory, "", "")
    beside.environment = {}
    made = await asyncio.to_thread(command, beside, "user", "list", "--json")
    assert (made.returncode, json.loads(made.stdout)) == (0, []), made.stderr
    counted = await asyncio.to_thread(command, beside, "stats", "--json", "--interval", "0.2", "--wait", "0.2")
    assert json.loads(counted.stdout)["replicas"][0]["replica"].endswith(f":{replica.port}")
