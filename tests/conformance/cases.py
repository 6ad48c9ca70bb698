"""The cases of the Autobahn test suite, run natively by ``kosoku``, and what came of them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections import Counter
from typing import Any

import msgspec
from kosoku import FailureError, run_fuzzingclient
from msgspec import Struct

SECTIONS = {
    1: "Framing",
    2: "Pings and pongs",
    3: "Reserved bits",
    4: "Opcodes",
    5: "Fragmentation",
    6: "UTF-8",
    7: "Closing",
    10: "Automatic fragmentation",
}
"""All but 9 (performance), 12 and 13 (compression, which is not negotiated)."""


RUN_S = 120.0


class Outcome(Struct, frozen=True):
    """What one case came to, in the suite's own words."""

    case: str
    behaviour: str
    close: str

    @property
    def section(self) -> int:
        return int(self.case.partition(".")[0])


async def run(port: int, *sections: int) -> list[Outcome]:
    """All cases of these sections, or of all. Takes some seconds."""
    # In a process of its own: kosoku keeps the first event loop it sees.
    arguments = [f"ws://127.0.0.1:{port}/ws", *(f"{section}.*" for section in sections or SECTIONS)]
    command = [sys.executable, "-m", __name__, *arguments]
    done = await asyncio.to_thread(subprocess.run, command, check=True, stdout=subprocess.PIPE, timeout=RUN_S)
    return msgspec.json.decode(done.stdout, type=list[Outcome])


async def _play(url: str, cases: list[str]) -> list[Outcome]:
    results: list[Any]
    try:
        results = await run_fuzzingclient(url, cases, concurrency=8)
    except FailureError as failure:
        results = failure.results
    return [Outcome(result.case_id, result.behavior.value, result.behavior_close.value) for result in results]


def failed(outcomes: list[Outcome]) -> list[str]:
    """The cases that did not pass. (``NON-STRICT`` and ``INFORMATIONAL`` pass, as the suite has it.)"""
    good, closed_well = {"OK", "NON-STRICT", "INFORMATIONAL"}, {"OK", "INFORMATIONAL"}
    return [o.case for o in outcomes if o.behaviour not in good or o.close not in closed_well]


def by_section(outcomes: list[Outcome]) -> dict[int, Counter[str]]:
    """How many cases had which outcome."""
    counts: dict[int, Counter[str]] = {section: Counter() for section in SECTIONS}
    bad = set(failed(outcomes))
    for outcome in outcomes:
        counts[outcome.section]["FAILED" if outcome.case in bad else outcome.behaviour] += 1
    return counts


if __name__ == "__main__":
    print(msgspec.json.encode(asyncio.run(_play(sys.argv[1], sys.argv[2:]))).decode(), flush=True)
    os._exit(0)  # kosoku's threads may still be at work, and abort a process that ends in the ordinary way
