"""Curves as SVG."""

from __future__ import annotations

from pathlib import Path

from bench.results import Curve


def draw(curve: Curve, directory: Path) -> Path:
    """Write ``<name>.svg``: medians as a line, the spread of the rounds as a band."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = curve.name  # the same figures give the same file
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for line in curve.lines:
        xs = [point.x for point in line.points]
        (drawn,) = axes.plot(xs, [point.median for point in line.points], marker="o", label=line.name)
        low, high = [min(point.values) for point in line.points], [max(point.values) for point in line.points]
        axes.fill_between(xs, low, high, alpha=0.2, color=drawn.get_color())
    xs = [point.x for point in curve.lines[0].points]
    if xs[-1] / xs[0] >= 20:
        axes.set_xscale("log")
    axes.set_xticks(xs, [f"{x:,.0f}" for x in xs], minor=False)
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set(title=curve.title, xlabel=curve.x_label, ylabel=curve.y_label)
    axes.grid(alpha=0.3)
    if len(curve.lines) > 1:
        axes.legend()
    path = directory / f"{curve.name}.svg"
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return path
