"""One id for each request, in its answer and in what is logged about it."""

from __future__ import annotations

import re
import secrets
from collections.abc import MutableMapping
from typing import Any

from litestar.types import Scope

HEADER = "X-Request-ID"

_WELL_FORMED = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_KEY = "chatapp_request_id"


def request_id(scope: Scope | MutableMapping[str, Any]) -> str:
    """The request's id: the client's (or the proxy's), when it is 1 to 64 of ``A-Z a-z 0-9 . _ -``; else a new one."""
    state = scope.setdefault("state", {})
    known = state.get(_KEY)
    if isinstance(known, str):
        return known
    given = [value for name, value in scope["headers"] if name == b"x-request-id"]
    well_formed = len(given) == 1 and _WELL_FORMED.fullmatch(given[0]) is not None
    state[_KEY] = made = given[0].decode("ascii") if well_formed else secrets.token_hex(16)
    return made
