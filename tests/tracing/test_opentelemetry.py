from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatapp.tracing import opentelemetry, spans
from chatapp.tracing.opening import TracingNotInstalled, TracingOptions, open_tracer
from tests.tracing.memory import Spans, is_child, linked, trace_of

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = CALLER[:-1] + "0"


def test_a_callers_trace_is_linked_and_not_continued_unless_trusted() -> None:
    kept = Spans()
    request = spans.request(kept.tracer(), "GET", "r1", CALLER)
    assert request is not None
    spans.answered(request, "GET", "/api/v1/chats", 200, 7)
    (span,) = kept.all()
    assert span.parent is None
    assert linked(span) == [0xB7AD6B7169203331]
    assert span.name == "GET /api/v1/chats"


def test_a_trusted_callers_trace_is_continued() -> None:
    kept = Spans()
    request = spans.request(kept.tracer(trusts_callers=True, sample_ratio=0.0), "GET", "r1", CALLER)
    assert request is not None, "the caller's decision to sample counts"
    request.end()
    (span,) = kept.all()
    assert format(trace_of(span), "032x") == CALLER[3:35]
    assert span.parent is not None
    assert span.parent.span_id == 0xB7AD6B7169203331


def test_a_trusted_caller_that_does_not_sample_is_not_traced() -> None:
    assert spans.request(Spans().tracer(trusts_callers=True), "GET", "r1", UNSAMPLED) is None


def test_an_untrusted_caller_cannot_make_us_sample() -> None:
    assert spans.request(Spans().tracer(sample_ratio=0.0), "GET", "r1", CALLER) is None


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00",
        CALLER.upper(),
        "ff" + CALLER[2:],
        CALLER + "-more",
        "00-" + "0" * 32 + CALLER[35:],
        CALLER[:36] + "0" * 16 + "-01",
        CALLER + "\n" + CALLER,
    ],
)
def test_a_header_that_is_not_well_formed_counts_as_none(header: str) -> None:
    assert Spans().tracer().inherited(header) is None


def test_a_header_of_a_later_version_is_read() -> None:
    tracer = Spans().tracer()
    assert tracer.inherited("01" + CALLER[2:] + "-more") == tracer.inherited(CALLER)


@given(st.binary(max_size=64))
def test_whatever_travelled_here_breaks_nothing(context: bytes) -> None:
    kept = Spans()
    span = kept.tracer().begin("deliver event", "consumer", {}, parent=context)
    if span is not None:
        span.end()


def test_what_travels_makes_a_child_elsewhere() -> None:
    kept = Spans()
    here = kept.tracer("one").begin("here", "producer", {})
    assert here is not None
    there = kept.tracer("two").begin("there", "consumer", {}, parent=here.context)
    assert there is not None
    there.end()
    here.end()
    assert is_child(kept.named("there")[0], kept.named("here")[0])


def test_a_group_is_a_child_of_its_first_send_and_linked_with_the_others_both_ways() -> None:
    kept = Spans()
    tracer = kept.tracer()
    senders = [tracer.begin(f"send {number}", "server", {}) for number in range(3)]
    begun = [span for span in senders if span is not None]
    with spans.commit(tracer, begun, 5):
        pass
    for span in begun:
        span.end()
    (group,) = kept.named("commit group")
    first, second, third = (kept.named(f"send {number}")[0] for number in range(3))
    assert is_child(group, first)
    assert group.context is not None
    assert second.context is not None
    assert third.context is not None
    assert linked(group) == [second.context.span_id, third.context.span_id]
    assert linked(second) == linked(third) == [group.context.span_id]
    assert group.attributes is not None
    assert group.attributes["chatapp.group.messages"] == 5


def test_a_group_without_a_sampled_send_is_no_span() -> None:
    kept = Spans()
    with spans.commit(kept.tracer(), [], 5):
        pass
    assert kept.all() == []


def test_a_link_to_a_span_that_has_ended_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    tracer = Spans().tracer()
    one, other = tracer.begin("one", "server", {}), tracer.begin("other", "server", {})
    assert one is not None
    assert other is not None
    one.end()
    one.link(other)
    assert caplog.text == ""


def test_without_the_extra_the_start_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("opentelemetry")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    options = TracingOptions(
        endpoint="http://127.0.0.1:1", headers={}, sample_ratio=1, service_name="x", version="0", trusts_callers=False
    )
    with pytest.raises(TracingNotInstalled, match=r"pip install 'chatapp\[tracing\]'"):
        open_tracer(options)


def test_while_tracing_is_off_neither_tracer_nor_exporter_is_imported() -> None:
    # redis-py imports a part of OpenTelemetry by itself, where it is installed.
    ours = ("chatapp.tracing.opentelemetry", "opentelemetry.exporter", "opentelemetry.sdk.trace.export")
    program = f"import sys, chatapp.app.serve; sys.exit(any(name.startswith({ours}) for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", program], timeout=30).returncode == 0


async def test_a_collector_that_hangs_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opentelemetry, "CLOSE_TIMEOUT_S", 0.3)
    monkeypatch.setattr(opentelemetry, "EXPORT_TIMEOUT_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        options = TracingOptions(
            endpoint=f"http://127.0.0.1:{silent.getsockname()[1]}",
            headers={},
            sample_ratio=1,
            service_name="x",
            version="0",
            trusts_callers=False,
        )
        tracer = opentelemetry.exporting_tracer(options)
        span = tracer.begin("one", "server", {})
        assert span is not None
        span.end()
        began = time.monotonic()
        await tracer.close()
        assert time.monotonic() - began < 1.0
        await asyncio.to_thread(tracer._provider.shutdown)  # its thread ends with the export's own timeout
