"""A ``Tracer`` over OpenTelemetry's SDK. Imported only when tracing is on.

It has a provider of its own and leaves the process-wide one alone. A context is 25 bytes: trace id (16), span id (8),
flags (1), as in a W3C ``traceparent``; ``tracestate`` and baggage are neither read nor sent.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import socket
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased

from chatapp.tracing.opening import TracingOptions
from chatapp.tracing.port import Attribute, Span, SpanKind

EXPORT_TIMEOUT_S = 5.0
CLOSE_TIMEOUT_S = 3.0
QUEUE_SPANS = 4096
"""Spans that wait for the collector; what is more is dropped."""

_CONTEXT_BYTES = 25
_SAMPLED = 1
# https://www.w3.org/TR/trace-context/#traceparent-header: a later version may say more after the flags.
_TRACEPARENT = re.compile(r"(?P<version>[0-9a-f]{2})-(?P<ids>[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2})(?P<rest>-.*)?")
_KINDS: dict[SpanKind, trace.SpanKind] = {
    "server": trace.SpanKind.SERVER,
    "internal": trace.SpanKind.INTERNAL,
    "producer": trace.SpanKind.PRODUCER,
    "consumer": trace.SpanKind.CONSUMER,
}


def exporting_tracer(options: TracingOptions) -> OpenTelemetryTracer:
    """Sends spans over OTLP/HTTP from a thread of its own."""
    base = options.endpoint.rstrip("/")
    exporter = OTLPSpanExporter(
        endpoint=base if base.endswith("/v1/traces") else f"{base}/v1/traces",
        headers=options.headers,
        timeout=EXPORT_TIMEOUT_S,
    )
    return OpenTelemetryTracer(options, BatchSpanProcessor(exporter, max_queue_size=QUEUE_SPANS))


class OpenTelemetryTracer:
    """A ``Tracer``. ``processor`` takes the spans that have ended."""

    def __init__(self, options: TracingOptions, processor: SpanProcessor) -> None:
        resource = Resource.create(
            {
                "service.name": options.service_name,
                "service.version": options.version,
                "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
            }
        )
        self._provider = TracerProvider(sampler=ParentBased(ALWAYS_ON), resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("chatapp", options.version)
        self._sample_ratio = options.sample_ratio
        self._trusts_callers = options.trusts_callers

    @property
    def trusts_callers(self) -> bool:
        """See ``Tracer``."""
        return self._trusts_callers

    def begin(
        self,
        name: str,
        kind: SpanKind,
        attributes: Mapping[str, Attribute],
        *,
        parent: Span | bytes | None = None,
        links: Sequence[Span | bytes] = (),
    ) -> OpenTelemetrySpan | None:
        """See ``Tracer``."""
        above = None if parent is None else _span_context(parent)
        # Decided here and not by the SDK's sampler, which takes some 10 us to say no.
        if above is None and random.random() >= self._sample_ratio:  # noqa: S311 (a sample, no secret)
            return None
        # A context is always given: the SDK would take one from the running task otherwise.
        context = Context()
        if above is not None:
            context = trace.set_span_in_context(trace.NonRecordingSpan(above), context)
        span = self._tracer.start_span(
            name,
            context,
            _KINDS[kind],
            attributes,
            [trace.Link(linked) for link in links if (linked := _span_context(link)) is not None],
        )
        return OpenTelemetrySpan(span) if span.is_recording() else None

    def inherited(self, traceparent: str) -> bytes | None:
        """See ``Tracer``."""
        match = _TRACEPARENT.fullmatch(traceparent.strip())
        if match is None or match["version"] == "ff" or (match["version"] == "00" and match["rest"]):
            return None
        context = bytes.fromhex(match["ids"].replace("-", ""))
        return context if _span_context(context) is not None else None

    async def close(self) -> None:
        """See ``Tracer``. A collector that hangs is waited for no longer than ``CLOSE_TIMEOUT_S``."""
        loop = asyncio.get_running_loop()
        closed: asyncio.Future[None] = loop.create_future()

        def close() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # the loop is gone: the collector hung, and nobody waits any more
                loop.call_soon_threadsafe(lambda: None if closed.done() else closed.set_result(None))

        threading.Thread(target=close, name="close tracing", daemon=True).start()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await closed
        except TimeoutError:
            return


class OpenTelemetrySpan:
    """A ``Span``."""

    __slots__ = ("span",)

    def __init__(self, span: trace.Span) -> None:
        self.span = span

    @property
    def context(self) -> bytes:
        """See ``Span``."""
        own = self.span.get_span_context()
        return own.trace_id.to_bytes(16, "big") + own.span_id.to_bytes(8, "big") + bytes((_SAMPLED,))

    @property
    def trace_id(self) -> str:
        """See ``Span``."""
        return trace.format_trace_id(self.span.get_span_context().trace_id)

    def set(self, name: str, value: Attribute) -> None:
        """See ``Span``."""
        self.span.set_attribute(name, value)

    def rename(self, name: str) -> None:
        """See ``Span``."""
        self.span.update_name(name)

    def link(self, other: Span) -> None:
        """See ``Span``. Nothing happens once this one has ended: a client that went does not wait for the commit."""
        linked = _span_context(other)
        if linked is not None and self.span.is_recording():
            self.span.add_link(linked)

    def end(self, failure: str | None = None) -> None:
        """See ``Span``."""
        if failure is not None:
            self.span.set_attribute("error.type", failure)
            self.span.set_status(trace.StatusCode.ERROR)
        self.span.end()


def _span_context(of: Span | bytes) -> trace.SpanContext | None:
    if isinstance(of, OpenTelemetrySpan):
        return of.span.get_span_context()
    context = of if isinstance(of, bytes) else of.context
    if len(context) != _CONTEXT_BYTES:
        return None
    made = trace.SpanContext(
        trace_id=int.from_bytes(context[:16], "big"),
        span_id=int.from_bytes(context[16:24], "big"),
        is_remote=True,
        trace_flags=trace.TraceFlags(context[24] & _SAMPLED),
    )
    return made if made.is_valid else None
