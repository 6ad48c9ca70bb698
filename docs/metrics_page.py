"""``docs/metrics.md``: every metric, what it means and what to do about it, and the alerts."""

from __future__ import annotations

from pathlib import Path

import yaml

from chatapp.app.metrics.catalogue import SECTIONS
from chatapp.app.metrics.family import Family

_ALERTS = Path(__file__).resolve().parent.parent / "deploy/observability/alerts.yml"

_INTRODUCTION = """\
# Metrics

<!-- Made by docs/generate.py from src/chatapp/app/metrics and deploy/observability/alerts.yml: change it there. -->

`GET /metrics` has these in Prometheus' text format. It is for operators; `docker-compose.yml` keeps it from outside.
How to have them collected and shown: [deploy.md](deploy.md#watching-it).

- Everything is counted where it happens, in plain numbers, and read when Prometheus asks. Nothing is counted for each
  delivery to a socket; a reading takes about 2 ms of a replica's event loop, more with many connections.
- Every series has the label `worker`: 0, 1, … with `--workers`, else 0. The workers of a host share its port, so a
  scrape reaches one of them at random; that one asks its siblings and answers for all. One that does not answer within
  a second is left out of this answer, and `chatapp_worker_up` says so. One that died is left out until another has
  taken its place, and then counts from zero under the same label, which `rate` and `increase` understand as a restart:
  so sum after `rate`, as in `sum(rate(chatapp_messages_stored_total[1m]))`, and never before. ([Why
  so](decisions/0008-metrics-of-several-workers.md))
- Histograms have the buckets that Prometheus' `histogram_quantile` wants: `…_bucket`, `…_sum` and `…_count`.
- Durations are taken on the monotonic clock of the replica that reports them, but for
  `chatapp_commit_to_delivery_seconds`, which says itself how.
"""


def metrics_page() -> str:
    """The page."""
    parts = [_INTRODUCTION]
    for title, families in SECTIONS:
        parts.append(f"## {title}\n\n| Metric | Type | Labels | Meaning | When it is high |\n|---|---|---|---|---|")
        parts[-1] += "".join(f"\n{_row(family)}" for family in families) + "\n"
    parts.append(_alerts())
    return "\n".join(parts)


def _row(family: Family) -> str:
    labels = ", ".join(f"`{label}`" for label in family.labels)
    cells = (f"`{family.name}`", family.kind, labels, family.meaning, family.advice)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _alerts() -> str:
    lines = [
        "## Alerts\n",
        "`deploy/observability/alerts.yml` has them for Prometheus.\n",
        "| Alert | Severity | When | What to do |",
        "|---|---|---|---|",
    ]
    for group in yaml.safe_load(_ALERTS.read_text(encoding="utf-8"))["groups"]:
        for rule in group["rules"]:
            notes = rule["annotations"]
            cells = (f"`{rule['alert']}`", rule["labels"]["severity"], notes["summary"], notes["action"])
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"
