"""What a metric is: its name, and in words what it counts and what to do about it; and a reading of its numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from msgspec import Struct

from chatapp.counting import Histogram


class Family(Struct, frozen=True):
    """One metric. Durations are in seconds, sizes in bytes; counters grow from the start of the process."""

    kind: Literal["counter", "gauge", "histogram"]
    name: str
    """As Prometheus shows it, but for what it adds to a histogram's."""
    meaning: str
    advice: str
    """What to do when it is high, or what else is worth a look."""
    labels: tuple[str, ...] = ()
    """Besides ``worker``, which all have."""

    def of(self, value: float | Histogram) -> Reading:
        """Its one number."""
        return Reading(self, {(): value})

    def by(self, values: Iterable[tuple[object, float]]) -> Reading:
        """Its numbers, by its one label."""
        return Reading(self, {(str(label),): value for label, value in values})

    def by_all(self, values: Mapping[tuple[str, ...], float | Histogram]) -> Reading:
        """Its numbers, by all its labels."""
        return Reading(self, values)


class Reading(Struct, frozen=True):
    """What one metric shows at this moment, by the values of its labels."""

    family: Family
    values: Mapping[tuple[str, ...], float | Histogram]


def counter(name: str, meaning: str, advice: str = "", *labels: str) -> Family:
    """Only grows."""
    return Family("counter", f"chatapp_{name}_total", meaning, advice, labels)


def gauge(name: str, meaning: str, advice: str = "", *labels: str) -> Family:
    """Goes up and down."""
    return Family("gauge", f"chatapp_{name}", meaning, advice, labels)


def histogram(name: str, meaning: str, advice: str = "", *labels: str) -> Family:
    """Is spread over buckets."""
    return Family("histogram", f"chatapp_{name}", meaning, advice, labels)
