"""Draw the dashboard from its own queries, where there is no Grafana: asks Prometheus and paints with matplotlib.

python deploy/observability/picture.py --prometheus http://127.0.0.1:9090 --minutes 10 --out docs/dashboard.png
"""

from __future__ import annotations

import argparse
import json
import math
import re
import time
import urllib.parse
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.dates import DateFormatter
from matplotlib.ticker import FuncFormatter, LinearLocator, MaxNLocator

DASHBOARD = Path(__file__).with_name("grafana") / "dashboards" / "chatapp.json"
RATE_INTERVAL = "20s"
"""What Grafana would take for $__rate_interval: four scrapes."""
STEP_S = 5
INK, DIM, GRID, PAPER, CARD = "#24292f", "#6e7781", "#e4e8ec", "#f4f5f7", "#ffffff"
COLOURS = ("#3274d9", "#e0752d", "#56a64b", "#a352cc", "#e02f44", "#1f9e9e", "#b8860b", "#7a6a58", "#d6588a", "#5f6b7a")

Series = tuple[str, list[datetime], list[float]]
Span = tuple[datetime, datetime]


class Prometheus:
    """Its HTTP interface."""

    def __init__(self, url: str, begin: float, end: float) -> None:
        self._url = url.rstrip("/")
        self._begin = begin
        self._end = end
        self.span = (datetime.fromtimestamp(begin, UTC), datetime.fromtimestamp(end, UTC))

    def ask(self, expr: str, legend: str) -> list[Series]:
        """The series of a query over the whole time. Raises ``ValueError`` with what Prometheus says against it."""
        expr = expr.replace("$__rate_interval", RATE_INTERVAL).replace("$instance", ".*")
        query = urllib.parse.urlencode({"query": expr, "start": self._begin, "end": self._end, "step": STEP_S})
        with urllib.request.urlopen(f"{self._url}/api/v1/query_range?{query}", timeout=30) as response:  # noqa: S310
            answer = json.load(response)
        if answer["status"] != "success":
            raise ValueError(answer)
        found: list[Series] = []
        for result in answer["data"]["result"]:
            labels: dict[str, str] = result["metric"]
            name = re.sub(r"{{(\w+)}}", lambda match, of=labels: of.get(match[1], ""), legend).strip()
            points = [(at, float(value)) for at, value in result["values"] if math.isfinite(float(value))]
            if points:
                found.append((name, [datetime.fromtimestamp(at, UTC) for at, _ in points], [v for _, v in points]))
        return found


def shown(value: float, unit: str) -> str:
    """The number as a person reads it."""
    if unit == "s":
        return (
            f"{value:.3g} s" if value >= 1 else f"{value * 1000:.3g} ms" if value >= 0.001 else f"{value * 1e6:.0f} µs"
        )
    if unit == "percentunit":
        return f"{value:.0%}"
    if unit == "bytes":
        for name in ("B", "KiB", "MiB"):
            if value < 1024:
                return f"{value:.3g} {name}"
            value /= 1024
        return f"{value:.3g} GiB"
    number = f"{value / 1000:.3g}k" if value >= 10_000 else f"{value:.0f}" if value >= 100 else f"{value:.3g}"
    return number + ("/s" if unit in ("cps", "reqps") else "")


def draw_stat(axes: Axes, title: str, unit: str, series: list[Series]) -> None:
    """One large number over its own curve."""
    axes.set_xticks([])
    axes.set_yticks([])
    value = series[0][2][-1] if series else 0.0
    if series:
        _, times, values = series[0]
        axes.fill_between(times, values, color=COLOURS[0], alpha=0.13, linewidth=0)
        axes.plot(times, values, color=COLOURS[0], linewidth=0.9, alpha=0.6)
        axes.set_ylim(0, max(max(values) * 3, 1e-9))
    axes.text(0.05, 0.86, title, transform=axes.transAxes, fontsize=8, color=DIM, va="top")
    axes.text(
        0.05, 0.55, shown(value, unit), transform=axes.transAxes, fontsize=16, color=INK, va="center", weight="bold"
    )


def _round_up(value: float, unit: str) -> float:
    """Of bytes to four steps that read well."""
    return 4 * 2 ** math.ceil(math.log2(value / 4)) if unit == "bytes" else value


def draw_lines(axes: Axes, title: str, unit: str, series: list[Series], span: Span) -> None:
    """Curves over the whole time, with their names below."""
    axes.set_title(title, loc="left", fontsize=9, color=INK, weight="bold", pad=6)
    alive = [one for one in series if any(one[2])] or series[:1]
    alive.sort(key=lambda one: -max(one[2]))
    for at, (name, times, values) in enumerate(alive[:10]):
        colour = COLOURS[at % len(COLOURS)]
        axes.plot(times, values, color=colour, linewidth=1.1, label=name or title)
        axes.fill_between(times, values, color=colour, alpha=0.06, linewidth=0)
    top = max((max(values) for _, _, values in alive), default=0.0)
    axes.set_ylim(0, _round_up(top * 1.12 or 1, unit))
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_formatter(DateFormatter("%H:%M"))
    axes.xaxis.set_major_locator(mpl.dates.AutoDateLocator(minticks=3, maxticks=6))
    axes.set_xlim(*span)
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 4, 5, 8, 10]) if unit != "bytes" else LinearLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: shown(value, unit) if value else "0"))
    axes.tick_params(labelsize=7, colors=DIM, length=0)
    if alive:
        axes.legend(
            loc="upper left",
            bbox_to_anchor=(-0.02, -0.13),
            ncol=3,
            fontsize=6.5,
            frameon=False,
            labelcolor=DIM,
            handlelength=1.2,
            columnspacing=1.2,
            borderaxespad=0,
        )
    else:
        axes.text(0.5, 0.5, "nothing happened", transform=axes.transAxes, ha="center", color=DIM, fontsize=8)


def draw(dashboard: dict[str, Any], prometheus: Prometheus, out: Path, note: str) -> None:
    """All panels where the dashboard has them."""
    panels = dashboard["panels"]
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    unit_in, head_in, width_in = 0.34, 0.7, 17.0
    height_in = rows * unit_in + head_in
    figure = plt.figure(figsize=(width_in, height_in), facecolor=PAPER)
    figure.text(0.012, 1 - 0.28 / height_in, dashboard["title"], fontsize=15, weight="bold", color=INK, va="center")
    figure.text(0.075, 1 - 0.29 / height_in, note, fontsize=8.5, color=DIM, va="center")

    def box(place: dict[str, int], left: float, bottom: float, right: float, top: float) -> tuple[float, ...]:
        """A part of the panel's place, in parts of the figure; margins in inches."""
        x, w = place["x"] / 24 * width_in, place["w"] / 24 * width_in
        y = height_in - head_in - (place["y"] + place["h"]) * unit_in
        return (
            (x + left) / width_in,
            (y + bottom) / height_in,
            (w - left - right) / width_in,
            (place["h"] * unit_in - bottom - top) / height_in,
        )

    for panel in panels:
        place, title = panel["gridPos"], panel["title"]
        if panel["type"] == "row":
            at = box(place, 0.2, 0, 0, 0)
            figure.text(at[0], at[1] + at[3] * 0.42, title, fontsize=10.5, weight="bold", color=DIM, va="center")
            continue
        series = [one for target in panel["targets"] for one in prometheus.ask(target["expr"], target["legendFormat"])]
        unit = panel["fieldConfig"]["defaults"]["unit"]
        card = figure.add_axes(box(place, 0.08, 0.06, 0.08, 0.06), facecolor=CARD)
        card.set_xticks([])
        card.set_yticks([])
        for side in card.spines.values():
            side.set_color(GRID)
        if panel["type"] == "stat":
            draw_stat(card, title, unit, series)
            continue
        axes = figure.add_axes(box(place, 0.72, 0.68, 0.25, 0.38), facecolor=CARD)
        for side in axes.spines.values():
            side.set_visible(False)
        draw_lines(axes, title, unit, series, prometheus.span)
    figure.savefig(out, dpi=80, facecolor=PAPER)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--prometheus", default="http://127.0.0.1:9090", help="its address")
    parser.add_argument("--minutes", type=float, default=10, help="how much to show")
    parser.add_argument("--ago", type=float, default=0, help="minutes since its end (0: up to now)")
    parser.add_argument("--out", type=Path, default=Path("docs/dashboard.png"))
    parser.add_argument("--note", default="drawn from the dashboard's own queries")
    given = parser.parse_args()
    end = time.time() - given.ago * 60
    prometheus = Prometheus(given.prometheus, end - given.minutes * 60, end)
    draw(json.loads(DASHBOARD.read_text(encoding="utf-8")), prometheus, given.out, given.note)


if __name__ == "__main__":
    main()
