"""``python -m bench``: run the workloads, show what they found, and write it down."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from bench.generator import LoadFailed
from bench.machine import describe
from bench.page import render, summary
from bench.plots import draw
from bench.programs import NoCompiler
from bench.results import Curve, Finding, Outcome
from bench.rig import Bench, opened, say
from bench.servers import ServerFailed
from bench.workloads import WORKLOADS

_DOCS = Path(__file__).parents[1] / "docs"
_RESULTS = _DOCS / "benchmarks" / "results.json"


def main() -> int:
    """The command. Exit status 1 where something could not be measured; a target that is not reached is no failure."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=(__doc__ or "").partition(":")[2].strip())
    parser.add_argument("--rounds", type=int, default=5, help="of everything that is compared (default 5)")
    parser.add_argument(
        "--only",
        action="append",
        choices=sorted(WORKLOADS),
        help="this workload; may be repeated; shows, writes no page",
    )
    parser.add_argument("--json", type=Path, help="write the results here (default, of a whole run: docs/benchmarks)")
    parser.add_argument("--page", action="store_true", help="only write the page anew from the results that are kept")
    given = parser.parse_args()
    if given.rounds < 1:
        parser.error("--rounds is at least 1")
    if given.page:
        write_page(msgspec.json.decode(_RESULTS.read_bytes(), type=Outcome))
        return 0
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that what was started ends too
    try:
        with opened() as bench:
            outcome, failures = measure(bench, given.only or list(WORKLOADS), given.rounds)
    except (NoCompiler, ServerFailed) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(summary(outcome.findings))
    results: Path | None = given.json or (None if given.only or failures else _RESULTS)
    if results is not None:
        results.parent.mkdir(parents=True, exist_ok=True)
        results.write_bytes(msgspec.json.format(msgspec.json.encode(outcome), indent=1) + b"\n")
    if results == _RESULTS:
        write_page(outcome)
    for failure in failures:
        print(f"error: {failure}", file=sys.stderr)
    return 1 if failures else 0


def measure(bench: Bench, names: list[str], rounds: int) -> tuple[Outcome, list[str]]:
    """Run the workloads, each with a database of its own; a failed one is told and does not end the run."""
    found: list[Finding | Curve] = []
    failures: list[str] = []
    for at, name in enumerate(names):
        began = time.monotonic()
        say(f"[{at + 1}/{len(names)}] {name}")
        try:
            with bench.rig() as rig:
                found += WORKLOADS[name](rig, rounds)
        except LoadFailed as error:
            failures.append(f"{name}: {error}")
            say(f"  failed: {error}")
        say(f"  {time.monotonic() - began:.0f} s")
    outcome = Outcome(
        machine=describe(bench.services.versions()),
        command=shlex.join(["make", "bench", f"ROUNDS={rounds}"]),
        rounds=rounds,
        date=datetime.now(UTC).date().isoformat(),
        compiler=bench.programs.compiler,
        findings=[item for item in found if isinstance(item, Finding)],
        curves=[item for item in found if isinstance(item, Curve)],
    )
    return outcome, failures


def write_page(outcome: Outcome) -> None:
    """``docs/benchmarks.md`` and its plots."""
    (_DOCS / "benchmarks.md").write_text(render(outcome))
    for curve in outcome.curves:
        draw(curve, _DOCS / "benchmarks")


if __name__ == "__main__":
    sys.exit(main())
