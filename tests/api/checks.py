"""What answers must look like."""

from __future__ import annotations

from typing import Any

import httpx
from litestar import Litestar


def transport(app: Litestar, *, raise_app_exceptions: bool = True) -> httpx.ASGITransport:
    """Requests to the application, on the loop of the test."""
    asgi: Any = app  # the two libraries spell the types of ASGI differently
    return httpx.ASGITransport(asgi, raise_app_exceptions=raise_app_exceptions)


def assert_refused(response: httpx.Response, status: int, error: str | None = None, code: str | None = None) -> None:
    """A failure in its one shape, with this status."""
    assert response.status_code == status, response.text
    body = response.json()
    assert {"error", "code"} <= body.keys()
    if error is not None:
        assert body["error"] == error
    if code is not None:
        assert body["code"] == code


def assert_invalid(response: httpx.Response, *expected: tuple[str, str]) -> None:
    """Fields that did not validate: (field, tag)."""
    assert response.status_code == 400, response.text
    body: dict[str, Any] = response.json()
    assert body["success"] is False
    assert (body["error"], body["code"]) == ("validation failed", "validation_failed")
    assert [(problem["field"], problem["tag"]) for problem in body["messages"]] == list(expected)
    assert all(set(problem) == {"field", "tag", "value"} for problem in body["messages"])
