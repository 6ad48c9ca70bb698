"""A tracer as the settings want it."""

from __future__ import annotations

from importlib.util import find_spec

from msgspec import Struct

from chatapp.tracing.port import Tracer


class TracingNotInstalled(Exception):
    """Tracing is on, and its packages are missing. Speaks to the operator at the start."""

    def __init__(self) -> None:
        super().__init__(
            "tracing.enabled is true, and the packages of OpenTelemetry are not installed. Install the extra with: "
            "pip install 'chatapp[tracing]'. Or set tracing.enabled to false."
        )


class TracingOptions(Struct, frozen=True):
    """Where spans go, and how many."""

    endpoint: str
    """Of an OTLP/HTTP receiver, without ``/v1/traces``."""
    headers: dict[str, str]
    """Sent with each export. Secret."""
    sample_ratio: float
    """Part of the new traces that is kept, 0 to 1."""
    service_name: str
    version: str
    trusts_callers: bool


def check_installed() -> None:
    """Raises ``TracingNotInstalled``. Imports nothing that tracing would not."""
    try:
        found = find_spec("opentelemetry.sdk.trace") and find_spec("opentelemetry.exporter.otlp.proto.http")
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise TracingNotInstalled


def open_tracer(options: TracingOptions) -> Tracer:
    """A tracer that sends to a collector. Raises ``TracingNotInstalled``."""
    check_installed()
    from chatapp.tracing.opentelemetry import exporting_tracer  # an extra: off is free

    return exporting_tracer(options)
