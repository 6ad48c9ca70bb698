"""``docs/benchmarks.md``, from what a run found."""

from __future__ import annotations

from bench.results import Curve, Finding, Outcome, Series, Target

_INTRODUCTION = """\
# Benchmarks

<!-- Written by `make bench` from benchmarks/results.json: run it again instead of editing. -->

Absolute figures say more about a machine than about a program, so what is measured is set beside something simpler,
in the same run and in turns with it: a C program that does one `send()` for each delivery and nothing else
(`bench/floor.c`), a bare `INSERT`, a session and a commit for each message (`bench/naive.py`). `x` is a ratio to that.
CPU is user and system time of the service's process. Figures are medians of all rounds, with the lowest and the
highest behind. The clients are a C program too (`bench/load.c`, which says why).
"""


def render(outcome: Outcome) -> str:
    """The whole page."""
    parts = [_INTRODUCTION, _origin(outcome), _table(outcome.findings), *map(_details, outcome.findings)]
    if outcome.curves:
        parts += ["## How it grows\n", *map(_curve, outcome.curves)]
    return "\n".join(parts)


def summary(findings: list[Finding]) -> str:
    """A line for each finding, for a terminal."""
    return "\n".join(
        f"{_verdict(finding):12} {finding.workload:9} {_spread(finding.answer):32} {_target(finding.target):16} "
        f"{finding.question}"
        for finding in findings
    )


def _origin(outcome: Outcome) -> str:
    machine = outcome.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    return (
        f"Measured on {outcome.date}, revision `{machine.revision}`, {outcome.rounds} rounds, with "
        f"`{outcome.command}`: "
        f"{machine.processor}, {machine.cores} cores of which {machine.cores_used} are used, {machine.memory_gib} GiB, "
        f"{machine.system}; Python {machine.python}, {versions}; the C programs compiled by {outcome.compiler} -O2. "
        "Everything runs on this one machine.\n"
    )


def _table(findings: list[Finding]) -> str:
    rows = [
        f"| {finding.workload} | {finding.question} | {_target(finding.target)} | {_number(finding.answer.median)} "
        f"{finding.answer.unit} | {_range(finding.answer)} | {_verdict(finding)} |"
        for finding in findings
    ]
    return "\n".join(["| workload | what | target | median | spread | |", "|---|---|---|---|---|---|", *rows, ""])


def _details(finding: Finding) -> str:
    if not finding.beside and not finding.note:
        return ""
    lines = [f"**{finding.workload}**: {finding.question}. {finding.note}".rstrip(), ""]
    lines += [f"- {series.name}: {_spread(series)}" for series in finding.beside]
    return "\n".join([*lines, ""])


def _curve(curve: Curve) -> str:
    xs = [point.x for point in curve.lines[0].points]
    head = [f"| {curve.x_label} | " + " | ".join(f"{line.name}, {curve.y_label}" for line in curve.lines) + " |"]
    head.append("|---" * (len(curve.lines) + 1) + "|")
    rows = [
        f"| {x:,.0f} | " + " | ".join(_number(line.points[at].median) for line in curve.lines) + " |"
        for at, x in enumerate(xs)
    ]
    picture = f"![{curve.title}](benchmarks/{curve.name}.svg)"
    return "\n".join([f"### {curve.title}", "", curve.note, "", picture, "", *head, *rows, ""])


def _verdict(finding: Finding) -> str:
    if finding.target is None:
        return ""
    return "reached" if finding.is_reached else "not reached"


def _target(target: Target | None) -> str:
    return "" if target is None else f"{target.bound} {_number(target.value)}"


def _spread(series: Series) -> str:
    return f"{_number(series.median)} {series.unit} ({_range(series)})"


def _range(series: Series) -> str:
    return f"{_number(min(series.values))} … {_number(max(series.values))}"


def _number(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"
