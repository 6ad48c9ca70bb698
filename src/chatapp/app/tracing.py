"""A replica's tracer, by the settings."""

from __future__ import annotations

from importlib.metadata import version

from chatapp.config import Settings
from chatapp.tracing.opening import TracingOptions, check_installed, open_tracer
from chatapp.tracing.port import Tracer


def check(settings: Settings) -> None:
    """Raises ``TracingNotInstalled`` where tracing is wanted and cannot be had."""
    if settings.tracing.enabled:
        check_installed()


def tracer_of(settings: Settings) -> Tracer | None:
    """None where tracing is off: then nothing of OpenTelemetry is imported. Raises ``TracingNotInstalled``."""
    tracing = settings.tracing
    if not tracing.enabled:
        return None
    return open_tracer(
        TracingOptions(
            endpoint=tracing.otlp_endpoint,
            headers=tracing.headers(),
            sample_ratio=tracing.sample_ratio,
            service_name=tracing.service_name,
            version=version("chatapp"),
            trusts_callers=tracing.trust_traceparent,
        )
    )
