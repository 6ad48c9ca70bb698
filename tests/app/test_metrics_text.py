from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from chatapp.app.metrics.family import counter, gauge, histogram
from chatapp.app.metrics.text import joined, render
from chatapp.counting import Histogram

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def read(text: bytes) -> Samples:
    """As Prometheus' own parser for Python reads it."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_numbers_are_read_back_with_their_labels_and_the_worker() -> None:
    asked = counter("asked", "How often.", "", "route", "status")
    reading = asked.by_all({("/a", "200"): 3, ("/b", "404"): 4.5})
    found = read(render([reading, gauge("up", "Whether.").of(True)], 2))
    assert found == {
        ("chatapp_asked_total", (("route", "/a"), ("status", "200"), ("worker", "2"))): 3,
        ("chatapp_asked_total", (("route", "/b"), ("status", "404"), ("worker", "2"))): 4.5,
        ("chatapp_up", (("worker", "2"),)): 1,
    }


def test_hostile_labels_are_escaped() -> None:
    hostile = 'a"} 1\nb{c="\\'
    found = read(render([gauge("x", "A back\\slash\nand a line.", "", "name").by([(hostile, 7)])], None))
    assert found == {("chatapp_x", (("name", hostile),)): 7}


def test_a_histogram_is_cumulative_and_ends_at_infinity() -> None:
    spread = Histogram((1, 2.5))
    for value in (0.5, 1, 2, 7, 8):
        spread.observe(value)
    found = read(render([histogram("took_seconds", "Time.").of(spread)], 0))
    by_name = {(name, dict(labels).get("le", "")): value for (name, labels), value in found.items()}
    assert by_name == {
        ("chatapp_took_seconds_bucket", "1"): 2,
        ("chatapp_took_seconds_bucket", "2.5"): 3,
        ("chatapp_took_seconds_bucket", "+Inf"): 5,
        ("chatapp_took_seconds_count", ""): 5,
        ("chatapp_took_seconds_sum", ""): 18.5,
    }
    assert spread.count == 5


def test_joined_texts_have_each_metric_once_with_the_series_of_all() -> None:
    one, other = gauge("one", "One."), gauge("other", "Other.")
    texts = [render([one.of(at), other.of(at * 10)], at) for at in (1, 2)]
    text = joined([*texts, render([gauge("third", "Third.").of(0)], None)])
    assert text.count(b"# TYPE chatapp_one gauge") == 1
    assert read(text)[("chatapp_other", (("worker", "2"),))] == 20
    names = [line.split(b"{")[0] for line in text.splitlines() if not line.startswith(b"#")]
    assert names == [b"chatapp_one"] * 2 + [b"chatapp_other"] * 2 + [b"chatapp_third 0"]
