"""A tracer that keeps its spans in memory, and how to look at them."""

from __future__ import annotations

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from chatapp.tracing.opening import TracingOptions
from chatapp.tracing.opentelemetry import OpenTelemetryTracer


class Spans:
    """What has ended so far, by any of the tracers that write here."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()

    def tracer(
        self, service: str = "one", *, sample_ratio: float = 1.0, trusts_callers: bool = False
    ) -> OpenTelemetryTracer:
        options = TracingOptions(
            endpoint="",
            headers={},
            sample_ratio=sample_ratio,
            service_name=service,
            version="0",
            trusts_callers=trusts_callers,
        )
        return OpenTelemetryTracer(options, SimpleSpanProcessor(self.exporter))

    def all(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    def named(self, name: str, service: str | None = None) -> list[ReadableSpan]:
        return [span for span in self.all() if span.name == name and service in (None, service_of(span))]


def service_of(span: ReadableSpan) -> str:
    return str(span.resource.attributes["service.name"])


def trace_of(span: ReadableSpan) -> int:
    assert span.context is not None
    return int(span.context.trace_id)


def is_child(span: ReadableSpan, parent: ReadableSpan) -> bool:
    assert parent.context is not None
    return (
        span.parent is not None
        and span.parent.span_id == parent.context.span_id
        and trace_of(span) == parent.context.trace_id
    )


def linked(span: ReadableSpan) -> list[int]:
    """The ids of the spans that it is linked with."""
    return [link.context.span_id for link in span.links]
