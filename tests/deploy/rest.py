"""Requests to the service as a stranger would make them: a new connection for each, and nothing is tried again."""

from __future__ import annotations

import json
from http.client import HTTPException
from typing import TypeVar
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import msgspec

T = TypeVar("T")

_TIMEOUT_S = 15.0
_opener = build_opener(ProxyHandler({}))


class Refused(Exception):
    """The status of an answer other than 2xx, or how the connection failed."""

    def __init__(self, reason: str, body: str = "") -> None:
        super().__init__(f"{reason} {body}")
        self.reason = reason


def call(
    base: str,
    method: str,
    path: str,
    shape: type[T],
    *,
    token: str | None = None,
    body: object = None,
    key: str | None = None,
) -> T:
    """One request. ``base`` is ``http://host:port``, ``key`` an ``Idempotency-Key``. Raises ``Refused``."""
    headers = {"Content-Type": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    if key is not None:
        headers["Idempotency-Key"] = key
    data = None if body is None else json.dumps(body).encode()
    request = Request(f"{base}/api/v1{path}", data=data, headers=headers, method=method)
    try:
        with _opener.open(request, timeout=_TIMEOUT_S) as answer:
            return msgspec.json.decode(answer.read(), type=shape)
    except HTTPError as error:
        with error:
            raise Refused(str(error.code), error.read(200).decode(errors="replace")) from None
    except (OSError, HTTPException) as error:
        raise Refused(type(error).__name__, str(error)) from None
