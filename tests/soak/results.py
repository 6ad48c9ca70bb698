"""A run's outcome: ``results.json``, the plot, and the table in the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from tests.soak.sample import Sample
from tests.soak.verdict import Line, warm_up_s

_START, _END = "<!-- figures -->", "<!-- /figures -->"
_PLOT = "![Memory, descriptors, tasks, latency over the run](soak/plot.svg)"
_MIB = 1 << 20


class Results(Struct, frozen=True):
    """All that is kept of a run."""

    machine: str
    date: str
    seconds: float
    seed: int
    settings: dict[str, str]
    acked: int
    heard: int
    connections: int
    """Opened by the well-behaved, resumed ones included."""
    violations: int
    load: dict[str, int]
    verdict: list[Line]
    samples: list[Sample]

    @property
    def ok(self) -> bool:
        """Whether every line of the verdict is."""
        return all(line.ok for line in self.verdict)


def write(results: Results, directory: Path, page: Path | None) -> None:
    """``results.json`` and ``plot.svg`` into the directory, the figures between the page's markers."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "results.json").write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=0) + b"\n")
    draw(results.samples, directory / "plot.svg")
    if page is not None:
        before, _, rest = page.read_text().partition(_START)
        after = rest.partition(_END)[2]
        page.write_text(f"{before}{_START}\n\n{table(results)}\n{_PLOT}\n\n{_END}{after}")


def table(results: Results) -> str:
    """In Markdown, for the page and for the terminal."""
    word = "passed" if results.ok else "**failed**"
    lines = [
        f"{results.date}, {results.machine}: {results.seconds / 60:.0f} minutes, seed {results.seed}, {word}.",
        "",
        f"Messages of the well-behaved that were acked: {results.acked:,}. What they heard: {results.heard:,} frames.",
        f"Their connections, resumed ones included: {results.connections:,}.",
        "",
        "| what | found | bound | |",
        "|---|---|---|---|",
        *(
            f"| {line.what} | {line.found} | {line.bound} | {'ok' if line.ok else '**no**'} |"
            for line in results.verdict
        ),
        "",
        "| what the load did | times |",
        "|---|---|",
        *(f"| {name} | {count:,} |" for name, count in sorted(results.load.items())),
    ]
    return "\n".join(lines) + "\n"


def draw(samples: Sequence[Sample], path: Path) -> None:
    """Eight small charts over the minutes; the grey part is the warm-up."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "soak"  # the same figures give the same file
    from matplotlib import pyplot as plt

    minutes = [sample.at_s / 60 for sample in samples]
    replicas = range(len(samples[0].replicas))

    def each(read: Callable[[Sample, int], float], what: str) -> dict[str, list[float]]:
        return {f"{what} {number}".strip(): [read(sample, number) for sample in samples] for number in replicas}

    def one(read: Callable[[Sample], float]) -> list[float]:
        return [read(sample) for sample in samples]

    charts: dict[str, dict[str, list[float]]] = {
        "Memory, MiB": each(lambda s, n: s.replicas[n].rss_bytes / _MIB, "RSS of replica")
        | each(lambda s, n: s.replicas[n].rss_worst_bytes / _MIB, "with hashes, replica"),
        "File descriptors": each(lambda s, n: s.replicas[n].fds, "replica"),
        "Tasks of the loop": each(lambda s, n: s.replicas[n].tasks, "replica"),
        "Threads and PostgreSQL's connections": each(lambda s, n: s.replicas[n].threads, "threads of replica")
        | {"connections": one(lambda s: s.postgres_connections)},
        "Send to ack and to delivery, ms": {
            "ack p50": one(lambda s: 1000 * s.ack_p50_s),
            "ack p99": one(lambda s: 1000 * s.ack_p99_s),
            "delivery p50": one(lambda s: 1000 * s.delivery_p50_s),
            "delivery p99": one(lambda s: 1000 * s.delivery_p99_s),
        },
        "Loop lag, p99, ms": each(lambda s, n: 1000 * s.replicas[n].lag_p99_s, "replica"),
        "Redis": {
            "memory, MiB": one(lambda s: s.redis_bytes / _MIB),
            "clients": one(lambda s: s.redis_clients),
        },
        "Sockets": each(lambda s, n: s.replicas[n].connections, "replica"),
    }
    figure, grid = plt.subplots(4, 2, figsize=(11, 12), layout="constrained", sharex=True)
    for axes, (title, lines) in zip(grid.flat, charts.items(), strict=True):
        for label, values in lines.items():
            axes.plot(minutes, values, label=label, linewidth=1)
        axes.axvspan(0, warm_up_s(samples[-1].at_s) / 60, color="grey", alpha=0.15)
        axes.set_title(title, fontsize=10)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    for axes in grid[-1]:
        axes.set_xlabel("minutes")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
