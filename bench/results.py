"""What comes out of a run, as it is kept in ``results.json``."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Literal

from msgspec import Struct

from bench.machine import Machine


class Target(Struct, frozen=True):
    """What the median must be."""

    bound: Literal["at most", "at least"]
    value: float

    def is_met_by(self, value: float) -> bool:
        """Whether this is good enough."""
        return value <= self.value if self.bound == "at most" else value >= self.value


class Series(Struct, frozen=True):
    """One figure, once for each round. ``unit`` is ``x`` for a ratio of two figures of the same round."""

    name: str
    unit: str
    values: list[float]

    @property
    def median(self) -> float:
        """The middle one."""
        return median(self.values)


class Finding(Struct, frozen=True):
    """An answer to one question, with the figures behind it."""

    workload: str
    question: str
    answer: Series
    target: Target | None
    beside: list[Series] = []
    note: str = ""

    @property
    def is_reached(self) -> bool:
        """Whether the target, if there is one, is met by the median."""
        return self.target is None or self.target.is_met_by(self.answer.median)


class Point(Struct, frozen=True):
    """What was measured at ``x``, once for each round."""

    x: float
    values: list[float]

    @property
    def median(self) -> float:
        """The middle one."""
        return median(self.values)


class Line(Struct, frozen=True):
    """One line of a curve."""

    name: str
    points: list[Point]


class Curve(Struct, frozen=True):
    """How something grows."""

    name: str
    title: str
    x_label: str
    y_label: str
    lines: list[Line]
    note: str = ""


class Outcome(Struct):
    """What a run found."""

    machine: Machine
    command: str
    rounds: int
    date: str
    compiler: str
    findings: list[Finding]
    curves: list[Curve]


def ratios(name: str, numerators: Sequence[float], denominators: Sequence[float]) -> Series:
    """Each round's figure over the other of the same round."""
    return Series(name, "x", [a / b for a, b in zip(numerators, denominators, strict=True)])
