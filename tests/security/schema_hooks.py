"""What schemathesis loads (``SCHEMATHESIS_HOOKS``): who asks. One user asks all, but for what ends his own tokens."""

from __future__ import annotations

import secrets
from typing import Any
from urllib.parse import urlsplit

import httpx
import schemathesis

PASSWORD = "correct horse"
ENDING = ("/auth/logout", "/auth/sessions/{session_id}", "/users/{user_id}")
"""Asked by a user who was made for it: the token may be of no use afterwards."""


@schemathesis.auth(refresh_interval=None)
class Users:
    """Registers them."""

    def __init__(self) -> None:
        self._token: str | None = None

    def get(self, case: schemathesis.Case[Any], context: schemathesis.AuthContext) -> str:
        """The token for this request."""
        base = urlsplit(case.operation.base_url or "")
        if context.operation.path.endswith(ENDING):
            return _register(f"{base.scheme}://{base.netloc}")
        if self._token is None:
            self._token = _register(f"{base.scheme}://{base.netloc}")
        return self._token

    def set(self, case: schemathesis.Case[Any], data: str, context: schemathesis.AuthContext) -> None:
        """Put it where it belongs."""
        case.headers["Authorization"] = f"Bearer {data}"


def _register(url: str) -> str:
    account = {"username": f"fuzz-{secrets.token_hex(8)}", "password": PASSWORD}
    response = httpx.post(f"{url}/api/v1/auth/register", json=account, trust_env=False)
    token: str = response.raise_for_status().json()["token"]
    return token
