"""What ``/metrics`` says, asked of a host with two workers, one of which is killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from chatapp.app.metrics.catalogue import SECTIONS
from tests.acceptance.client import rests, socket
from tests.acceptance.replicas import ReplicaProcess, Replicas, wait_until

pytestmark = pytest.mark.alone

WORKERS = ("0", "1")
Series = Mapping[tuple[str, str], float]
"""By name and worker, summed over all other labels."""


@pytest.fixture(scope="module")
def host(site: Replicas) -> ReplicaProcess:
    started = site.start(1, "--workers", "2")[0]
    wait_until(lambda: answering(started) == {"0": 1, "1": 1}, 30.0, started.log)
    return started


def scrape(host: ReplicaProcess) -> str:
    """Over a connection of its own, so that any worker may take it."""
    return httpx.get(f"{host.url}/metrics", trust_env=False, timeout=5).raise_for_status().text


def series(text: str) -> Series:
    found: dict[tuple[str, str], float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, sample.labels.get("worker", ""))
            found[key] = found.get(key, 0) + sample.value
    return found


def answering(host: ReplicaProcess) -> dict[str, float]:
    """Which workers are up; nothing when the one that had taken the connection was killed."""
    try:
        found = series(scrape(host))
    except httpx.TransportError:
        return {}
    return {worker: found[name, worker] for name, worker in found if name == "chatapp_worker_up"}


async def test_every_metric_is_there_with_its_labels_and_no_other_is(host: ReplicaProcess) -> None:
    async with rests(host) as (rest,):
        ann = await rest.register("ann")
        chat = await rest.group(ann, ann)
        async with socket(host, ann) as talking:
            await talking.tell("message", {"chat_id": chat, "content": "hello"})
            await talking.expect("ack")
            await talking.tell("message", {"chat_id": 2**40, "content": "hello"})
            await talking.expect("error")
        httpx.get(f"{host.url}/ws", trust_env=False)
    wanted = {f.name: {*f.labels, "worker"} for _, families in SECTIONS for f in families}
    wanted["chatapp_workers"] = set()
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(scrape(host)):
        name = family.name + ("_total" if family.type == "counter" else "")
        found[name] = {label for sample in family.samples for label in sample.labels} - {"le"}
    assert set(found) == set(wanted)
    assert {name: labels for name, labels in found.items() if labels} == {
        name: wanted[name] for name, labels in found.items() if labels
    }


async def test_whichever_worker_is_asked_the_counters_are_of_all_and_never_go_back(host: ReplicaProcess) -> None:
    before: Series = {}
    async with rests(host) as (rest,):
        bob = await rest.register("bob")
        chat = await rest.group(bob, bob)
        stored_before = stored(series(scrape(host)))
        for number in range(20):
            await rest.send(bob, chat, f"number {number}")
            now = series(scrape(host))
            assert {worker for _, worker in now} >= set(WORKERS)
            for key, value in before.items():
                if key[0].endswith(("_total", "_bucket", "_count")):
                    assert now[key] >= value, key
            assert stored(now) == stored_before + number + 1
            before = now


def stored(found: Series) -> float:
    return sum(found["chatapp_messages_stored_total", worker] for worker in WORKERS)


async def test_a_killed_worker_is_left_out_and_its_place_begins_anew(host: ReplicaProcess) -> None:
    before = series(scrape(host))
    with open(f"/proc/{host.process.pid}/task/{host.process.pid}/children") as children:
        workers = [int(pid) for pid in children.read().split() if is_worker(int(pid))]
    assert len(workers) == 2
    os.kill(workers[0], signal.SIGKILL)
    dead = ""

    def one_is_missing() -> bool:
        nonlocal dead
        dead = next((worker for worker, up in answering(host).items() if not up), "")
        return dead != ""

    def all_are_there() -> bool:
        return answering(host) == {"0": 1, "1": 1}

    wait_until(one_is_missing, 10.0, host.log)
    wait_until(all_are_there, 30.0, host.log)
    (other,) = set(WORKERS) - {dead}
    after = series(scrape(host))
    start = "process_start_time_seconds"
    assert after[start, dead] > before[start, dead]
    assert after[start, other] == before[start, other]
    assert after["chatapp_comparisons_total", other] >= before["chatapp_comparisons_total", other]
    assert after["chatapp_messages_stored_total", dead] == 0


def is_worker(pid: int) -> bool:
    """Not multiprocessing's own helper."""
    with open(f"/proc/{pid}/cmdline", "rb") as line:
        return b"spawn_main" in line.read()
