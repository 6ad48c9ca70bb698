"""Reads PromQL as far as the dashboard and the alerts use it, so that what they name can be compared with what exists.

It is not a parser of the language: promtool is, where it is installed. It knows selectors, groupings and functions, and
takes every other word for a mistake.
"""

from __future__ import annotations

import re

from msgspec import Struct

_FUNCTIONS = frozenset(["abs", "absent", "changes", "histogram_quantile", "increase", "min_over_time", "rate"])
_AGGREGATIONS = frozenset(["avg", "count", "max", "min", "sum", "topk"])
_WORDS = frozenset(["and", "or", "unless", "by", "without", "on", "ignoring", "bool"])
_TEXT = r'"(?:[^"\\]|\\.)*"'
_SELECTOR = re.compile(rf"([a-zA-Z_:][\w:]*)\s*\{{((?:[^{{}}\"]|{_TEXT})*)\}}")
_MATCHER = re.compile(rf"\s*(\w+)\s*(?:=~|!~|!=|=)\s*{_TEXT}\s*")
_GROUPING = re.compile(r"\b(?:by|without)\s*\(([^()]*)\)")
_RANGE = re.compile(r"\[(?:\d+(?:ms|[smhd])|\$__rate_interval)\]")


class Selector(Struct, frozen=True):
    """One metric that is asked for, and the labels that it is chosen by."""

    metric: str
    labels: tuple[str, ...]


class Expression(Struct, frozen=True):
    """What an expression names."""

    selectors: tuple[Selector, ...]
    groupings: tuple[str, ...]
    """The labels that it is summed up by."""


def read(text: str) -> Expression:
    """Raises ``ValueError`` where it is not what the dashboard and the alerts may hold."""
    selectors: list[Selector] = []

    def take(match: re.Match[str]) -> str:
        selectors.append(Selector(match[1], tuple(_MATCHER.findall(match[2]))))
        if _MATCHER.sub("", match[2]).strip(" ,"):
            raise ValueError(f"these are no matchers: {match[2]}")
        return " 0 "

    rest = _SELECTOR.sub(take, text)
    groupings = [label.strip() for found in _GROUPING.findall(rest) for label in found.split(",")]
    rest = _RANGE.sub(" ", _GROUPING.sub(" ", rest))
    words = set(re.findall(r"[a-zA-Z_]\w*", rest))
    if unknown := words - _FUNCTIONS - _AGGREGATIONS - _WORDS:
        raise ValueError(f"neither functions nor metrics with a selector: {sorted(unknown)}")
    if not selectors:
        raise ValueError("it asks for nothing")
    depth = 0
    for character in rest:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth < 0:
            break
    if depth or set("{}[]\"'") & set(rest):
        raise ValueError("its brackets do not match")
    return Expression(tuple(selectors), tuple(groupings))
