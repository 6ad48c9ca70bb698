"""What a tracer can do. Without one (None, the default) nothing is traced and nothing is imported or made for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

Attribute = str | int | float | bool
SpanKind = Literal["server", "internal", "producer", "consumer"]


class Span(Protocol):
    """A sampled piece of work that has begun and must be ended."""

    @property
    def context(self) -> bytes:
        """What a span elsewhere needs to be its child: a few bytes, opaque, that may travel."""

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits, as people look for it."""

    def set(self, name: str, value: Attribute) -> None:
        """Note something about it."""

    def rename(self, name: str) -> None:
        """A better name is known now."""

    def link(self, other: Span) -> None:
        """It has to do with this span, of another trace perhaps."""

    def end(self, failure: str | None = None) -> None:
        """It is over; ``failure`` is a word for what went wrong, never a text of a client. Call it once."""


class Tracer(Protocol):
    """Makes spans and sends them away, in the background and bounded: what a slow collector does not take is lost."""

    def begin(
        self,
        name: str,
        kind: SpanKind,
        attributes: Mapping[str, Attribute],
        *,
        parent: Span | bytes | None = None,
        links: Sequence[Span | bytes] = (),
    ) -> Span | None:
        """A child of ``parent`` (a span, or the ``context`` of one elsewhere), else a new trace.

        None where it is not sampled. A context that cannot be read counts as none.
        """

    def inherited(self, traceparent: str) -> bytes | None:
        """The context that a W3C ``traceparent`` header names; None where it is not well-formed."""

    @property
    def trusts_callers(self) -> bool:
        """Whether an inherited context is continued, sampling decision and all; else it is only linked."""

    async def close(self) -> None:
        """Send what waits, within a few seconds, and end."""
