"""Prometheus' text format (version 0.0.4).

Written here and not by prometheus-client, which takes 12 ms for a replica's thousand lines, on the event loop; this
takes one. What it writes is read back by prometheus-client's own parser in the tests.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from chatapp.app.metrics.family import Family, Reading
from chatapp.counting import Histogram

_BLOCK = re.compile(rb"^(?=# HELP )", re.MULTILINE)
_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


def render(readings: Iterable[Reading], worker: int | None) -> bytes:
    """The text. Each series carries ``worker`` as a label, if it is given."""
    lines: list[str] = []
    common = "" if worker is None else f'worker="{worker}"'
    for reading in readings:
        family = reading.family
        lines.append(f"# HELP {family.name} {_one_line(family.meaning)}\n# TYPE {family.name} {family.kind}\n")
        for labels, value in reading.values.items():
            pairs = [f'{name}="{text.translate(_ESCAPES)}"' for name, text in zip(family.labels, labels, strict=True)]
            within = ",".join([common, *pairs] if common else pairs)
            if isinstance(value, Histogram):
                _add_histogram(lines, family, within, value)
            else:
                lines.append(f"{family.name}{_braced(within)} {_number(value)}\n")
    return "".join(lines).encode()


def joined(texts: Iterable[bytes]) -> bytes:
    """Several texts as one, in which each metric's series stand together, as the format wants it."""
    families: dict[bytes, list[bytes]] = {}
    for text in texts:
        for block in _BLOCK.split(text):
            end = block.find(b"\n", block.find(b"\n") + 1) + 1  # of the lines HELP and TYPE
            if end:
                families.setdefault(block[:end], []).append(block[end:])
    return b"".join([part for head, series in families.items() for part in (head, *series)])


def _add_histogram(lines: list[str], family: Family, within: str, value: Histogram) -> None:
    reached = 0
    before = f"{family.name}_bucket{{{within}{',' if within else ''}le="
    for bound, count in zip(value.bounds, value.counts, strict=False):
        reached += count
        lines.append(f'{before}"{bound:g}"}} {reached}\n')
    reached += value.counts[-1]
    lines.append(f'{before}"+Inf"}} {reached}\n')
    lines.append(f"{family.name}_count{_braced(within)} {reached}\n{family.name}_sum{_braced(within)} {value.total}\n")


def _number(value: float) -> str:
    return "+Inf" if value == math.inf else str(value + 0)  # a bool becomes a number


def _braced(within: str) -> str:
    return f"{{{within}}}" if within else ""


def _one_line(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")
