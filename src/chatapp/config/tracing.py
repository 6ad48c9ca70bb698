"""The section ``tracing``."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from msgspec import Meta, Struct

from chatapp.config.values import Secret

_HEADER = re.compile(
    r"\s*(?P<name>[!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*=\s*(?P<value>[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?)\s*"
)


class TracingSettings(Struct, frozen=True, kw_only=True):
    """Spans to an OpenTelemetry collector. Needs the extra: `pip install 'chatapp[tracing]'`. See docs/tracing.md."""

    enabled: Annotated[bool, Meta(description="Trace at all. Off costs nothing.")] = False
    otlp_endpoint: Annotated[
        str,
        Meta(
            description="Where an OTLP/HTTP receiver listens; /v1/traces is added.",
            extra={"expected": "an address such as http://collector:4318, without user and password"},
        ),
    ] = "http://127.0.0.1:4318"
    otlp_headers: Annotated[
        Secret | None,
        Meta(
            description="Headers of each export, such as the receiver's key.",
            extra={"expected": "name=value, several with commas between them"},
        ),
    ] = None
    sample_ratio: Annotated[
        float, Meta(ge=0, le=1, description="The part of requests and commands that is traced; 1 is all of them.")
    ] = 0.01
    service_name: Annotated[str, Meta(min_length=1, description="The name that the spans go under.")] = "chatapp"
    trust_traceparent: Annotated[
        bool,
        Meta(
            description="Continue the traces of callers (traceparent), also where they decide to sample. Only where "
            "all of them are yours; else their traces are linked."
        ),
    ] = False

    def headers(self) -> dict[str, str]:
        """What ``otlp_headers`` says."""
        return {} if self.otlp_headers is None else parse_headers(self.otlp_headers.reveal())


def check_endpoint(text: str) -> None:
    """Raises ``ValueError`` for what is no address of a receiver; it does not quote passwords."""
    parts = urlsplit(text)
    if parts.username is not None or parts.password is not None:
        raise ValueError("an address with a user or password")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(repr(text))
    parts.port  # noqa: B018 (raises ValueError)


def parse_headers(text: str) -> dict[str, str]:
    """Raises ``ValueError``, which does not quote it."""
    headers: dict[str, str] = {}
    for part in text.split(","):
        match = _HEADER.fullmatch(part)
        if match is None:
            raise ValueError("a part that is not name=value")
        headers[match["name"].lower()] = match["value"]
    return headers
