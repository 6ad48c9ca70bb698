"""What a run came to."""

from __future__ import annotations

from collections import Counter

from msgspec import Struct

from tests.chaos.history import (
    ChangeAcked,
    ClientHistory,
    Closed,
    Heard,
    Opened,
    Record,
    ResyncTold,
    SendAcked,
    SendInvoked,
    SendRefused,
)
from tests.chaos.violations import Fault, Violation

_SHOWN = 40


class Report(Struct, frozen=True):
    """The figures of one run; ``ok`` is the verdict."""

    seed: int
    seconds: float
    replicas: int
    redis: str
    """How Redis was run: single, sentinel or cluster."""
    faults: dict[str, int]
    """How often each was done."""
    acked: int
    refused: int
    unknown: int
    """Sends that were neither acked nor refused until the end."""
    changes_acked: int
    heard: int
    connections: int
    closes: dict[str, int]
    """Ends of connections, by close code."""
    resyncs: int
    convergence_s: float
    """From the end of the last fault until everybody had everything."""
    tracebacks: int
    """In the logs of the replicas."""
    violations: dict[str, int]
    """By kind; those of ``Fault`` that were not found are 0."""
    examples: list[str]
    failures: list[str]
    """What kept the run itself from being whole: a replica that did not come up, a client that broke."""

    @property
    def ok(self) -> bool:
        """Nothing was broken for good."""
        return not self.failures and not any(self.violations.values())


def summarise(histories: list[ClientHistory], violations: list[Violation]) -> dict[str, object]:
    """The fields of a ``Report`` that come from the records."""
    records: Counter[type[Record]] = Counter()
    closes: Counter[str] = Counter()
    invoked: set[str] = set()
    answered: set[str] = set()
    acked: set[tuple[int, str]] = set()
    for history in histories:
        for record in history.records:
            records[type(record)] += 1
            if isinstance(record, Closed):
                closes[str(record.code)] += 1
            elif isinstance(record, SendInvoked):
                invoked.add(record.nonce)
            elif isinstance(record, SendAcked):
                acked.add((history.user_id, record.nonce))
                answered.add(record.nonce)
            elif isinstance(record, SendRefused):
                answered.add(record.nonce)
    found = Counter(violation.fault for violation in violations)
    return {
        "acked": len(acked),
        "refused": records[SendRefused],
        "unknown": len(invoked - answered),
        "changes_acked": records[ChangeAcked],
        "heard": records[Heard],
        "connections": records[Opened],
        "closes": dict(closes.most_common()),
        "resyncs": records[ResyncTold],
        "violations": {str(fault): found[fault] for fault in Fault},
        "examples": [str(violation) for violation in violations[:_SHOWN]],
    }


def table(report: Report) -> str:
    """For people."""
    lines = [
        f"chaos: seed {report.seed}, {report.seconds:.0f} s, {report.replicas} replicas, Redis {report.redis}",
        "",
        "faults",
    ]
    lines += [f"  {name:<32}{count:>8}" for name, count in sorted(report.faults.items())]
    figures: dict[str, object] = {
        "messages acked": report.acked,
        "messages refused": report.refused,
        "messages of unknown end": report.unknown,
        "edits and deletions acked": report.changes_acked,
        "frames heard": report.heard,
        "connections": report.connections,
        "resyncs": report.resyncs,
        "convergence after last fault": f"{report.convergence_s:.2f} s",
        "tracebacks in logs": report.tracebacks,
    }
    lines += ["", "what happened", *(f"  {name:<32}{figure:>8}" for name, figure in figures.items())]
    lines += [f"  {'closed with ' + code:<32}{count:>8}" for code, count in report.closes.items()]
    lines += ["", "promises broken", *(f"  {name:<32}{count:>8}" for name, count in report.violations.items())]
    lines += [f"    {example}" for example in report.examples]
    lines += [f"    failure: {failure}" for failure in report.failures]
    return "\n".join(
        [*lines, "", "ok" if report.ok else f"NOT OK: repeat it with --seed {report.seed} --redis {report.redis}"]
    )
