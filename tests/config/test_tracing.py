from __future__ import annotations

import pytest

from chatapp.config import Secret, Settings, TracingSettings
from tests.config.support import BOTH, from_environ, problems_of


def test_tracing_is_off_unless_it_is_asked_for() -> None:
    assert Settings().tracing.enabled is False


def test_headers_are_names_and_values() -> None:
    given = TracingSettings(otlp_headers=Secret("X-Key = a=b c , authorization=Bearer abc"))
    assert given.headers() == {"x-key": "a=b c", "authorization": "Bearer abc"}
    assert TracingSettings().headers() == {}


@pytest.mark.parametrize("endpoint", ["http://collector:4318", "https://[::1]:4318/otlp", "http://collector/v1/traces"])
def test_an_address_of_a_receiver_is_taken(endpoint: str) -> None:
    assert from_environ(**BOTH, CHATAPP_TRACING__OTLP_ENDPOINT=endpoint).tracing.otlp_endpoint == endpoint


@pytest.mark.parametrize(
    "endpoint", ["collector:4318", "grpc://collector:4317", "http://", "http://a:b", "http://u:secret@collector:4318"]
)
def test_what_is_no_address_of_a_receiver_is_refused_without_its_password(endpoint: str) -> None:
    problem = problems_of(**BOTH, CHATAPP_TRACING__OTLP_ENDPOINT=endpoint)["tracing.otlp_endpoint"]
    assert "expected an address such as http://collector:4318" in problem
    assert "secret" not in problem


@pytest.mark.parametrize("headers", ["secret", "=secret", "a=", "a b=secret", "a=secret\nb: c", "a=x,,b=y"])
def test_headers_that_cannot_be_sent_are_refused_without_quoting_them(headers: str) -> None:
    problem = problems_of(**BOTH, CHATAPP_TRACING__OTLP_HEADERS=headers)["tracing.otlp_headers"]
    assert "expected name=value" in problem
    assert "secret" not in problem
