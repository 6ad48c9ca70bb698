"""Every span there is, in the order of a message's way (see docs/tracing.md). Attributes hold no text of a client."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from chatapp.protocol.envelope import Envelope
from chatapp.tracing.port import Attribute, Span, Tracer

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def request(tracer: Tracer, method: str, request_id: str, traceparent: str | None) -> Span | None:
    """An HTTP request, from its headers to the end of its answer (``answered``)."""
    caller = None if traceparent is None else tracer.inherited(traceparent)
    known = method if method in _METHODS else "_OTHER"
    return tracer.begin(
        "HTTP" if known == "_OTHER" else known,
        "server",
        {"http.request.method": known, "chatapp.request_id": request_id},
        parent=caller if tracer.trusts_callers else None,
        links=() if caller is None or tracer.trusts_callers else (caller,),
    )


def answered(span: Span, method: str, route: str | None, status: int | None, user_id: int | None) -> None:
    """Its answer has left (``status``), or none could be given."""
    if route is not None:
        span.set("http.route", route)
        span.rename(f"{method} {route}")
    if status is not None:
        span.set("http.response.status_code", status)
    if user_id is not None:
        span.set("chatapp.user_id", user_id)
    span.end("no answer" if status is None else str(status) if status >= 500 else None)


def command(tracer: Tracer, kind: str, connection_id: str, user_id: int) -> Span | None:
    """A command on a socket, from its frame to its ack or error."""
    attributes: dict[str, Attribute] = {
        "chatapp.command": kind,
        "chatapp.connection_id": connection_id,
        "chatapp.user_id": user_id,
    }
    return tracer.begin(f"command {kind}", "server", attributes)


@contextmanager
def commit(tracer: Tracer, senders: Sequence[Span], messages: int) -> Iterator[None]:
    """The statement that stores a group: a child of the first sampled send, linked with all sampled sends both ways."""
    if not senders:
        yield
        return
    attributes = {"chatapp.group.messages": messages, "chatapp.group.sampled": len(senders)}
    span = tracer.begin("commit group", "internal", attributes, parent=senders[0], links=senders[1:])
    if span is None:
        yield
        return
    for sender in senders[1:]:
        sender.link(span)
    try:
        yield
    except BaseException as error:
        span.end(type(error).__name__)
        raise
    span.end()


def publish(tracer: Tracer, parent: Span | bytes, envelope: Envelope) -> Span | None:
    """An event's hand-over to the bus. Its context is what travels."""
    return tracer.begin("publish event", "producer", _event(envelope), parent=parent)


@contextmanager
def deliver(tracer: Tracer, batch: Sequence[Envelope], connections: int) -> Iterator[None]:
    """A room's hand-over to its connections on this replica: one span for each sampled event of the burst."""
    begun = [
        tracer.begin(
            "deliver event",
            "consumer",
            {
                **_event(envelope),
                "chatapp.connections": connections,
                "chatapp.bytes": sum(map(len, envelope.frames)),
                "chatapp.burst.events": len(batch),
            },
            parent=envelope.trace,
        )
        for envelope in batch
        if envelope.trace
    ]
    try:
        yield
    finally:
        for span in begun:
            if span is not None:
                span.end()


def _event(envelope: Envelope) -> dict[str, str | int]:
    return {
        "messaging.system": "chatapp",
        "chatapp.event": envelope.kind.name.lower(),
        "chatapp.chat_id": envelope.chat_id,
        "chatapp.position": envelope.position,
    }
