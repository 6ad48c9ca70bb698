"""Run the Autobahn cases in every arrangement and print the table of ``docs/security.md``: ``make conformance``."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

from tests import haproxy
from tests.conformance.cases import SECTIONS, Outcome, by_section, failed, run
from tests.conformance.echo import echoing

ARRANGEMENTS = ("directly", "through HAProxy", "text only")


async def _outcomes(arrangement: str) -> list[Outcome]:
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(echoing(takes_binary=arrangement != "text only"))
        if arrangement == "through HAProxy":
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            port = await stack.enter_async_context(haproxy.in_front_of(port, directory=directory))
        return await run(port)


async def main() -> int:
    """The exit status: 1 when a case failed that had to pass."""
    rows = {number: [f"{number} {name}"] for number, name in SECTIONS.items()}
    totals = ["all"]
    status = 0
    shown = [a for a in ARRANGEMENTS if a != "through HAProxy" or haproxy.is_there()]
    notes: list[str] = []
    for arrangement in shown:
        outcomes = await _outcomes(arrangement)
        bad = failed(outcomes)
        for number, counts in by_section(outcomes).items():
            rows[number].append(f"{counts.total() - counts['FAILED']} of {counts.total()}")
        totals.append(f"{len(outcomes) - len(bad)} of {len(outcomes)}")
        not_strict = [outcome.case for outcome in outcomes if outcome.behaviour == "NON-STRICT"]
        notes.append(f"{arrangement}: failed {', '.join(bad) or 'none'}; not strict {', '.join(not_strict) or 'none'}")
        if bad and arrangement != "text only":
            status = 1
    table = [["section", *shown], ["---"] * (len(shown) + 1), *rows.values(), totals]
    print("\n".join("| " + " | ".join(row) + " |" for row in table), *notes, sep="\n")
    return status


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
