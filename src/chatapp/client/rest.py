"""One REST call: any of the addresses, repeated where that is safe, with a typed answer or a typed error."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import httpx
import msgspec
from msgspec import Struct

from chatapp.client.addresses import Addresses
from chatapp.client.backoff import full_jitter
from chatapp.client.errors import BadAnswer, NotFound, RateLimited, Refused, Unavailable, Unreachable, kind_of_status
from chatapp.errors import FieldProblem

BASE = "/api/v1"
_PAUSE_S = 0.2
_PAUSE_CAP_S = 5.0
_REFUSED_BEFORE_DOING = frozenset({"overloaded", "draining"})
T = TypeVar("T")
Query = Mapping[str, int | str | bool | None]


class _Body(Struct, frozen=True):
    error: str = ""
    code: str = ""
    messages: list[FieldProblem] | None = None


class Rest:
    """Every call may raise ``Refused`` (see its kinds), ``Unreachable`` and ``BadAnswer``.

    What was certainly not done (429, no connection, an overloaded replica) is tried again for ``patience_s`` at most,
    after what ``Retry-After`` says; what may have been done only where a repetition does no harm.
    """

    def __init__(self, addresses: Addresses, http: httpx.AsyncClient, patience_s: float) -> None:
        self.token: str | None = None
        self.renew: Callable[[str], Awaitable[bool]] | None = None
        """Gets a new token in place of this refused one; False where it cannot."""
        self._addresses = addresses
        self._http = http
        self._patience_s = patience_s
        self._rng = random.Random()  # noqa: S311 (jitter)

    async def get(self, path: str, shape: type[T], query: Query | None = None) -> T:
        """Read something."""
        return decoded(await self.ask("GET", path, query=query), shape)

    async def ask(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        query: Query | None = None,
        key: str | None = None,
        safe: bool = True,
        with_token: bool = True,
    ) -> bytes:
        """The answer's body. ``safe``: doing it twice does no harm. ``key``: the ``Idempotency-Key``."""
        deadline = time.monotonic() + self._patience_s
        failures, repeated, renewed = 0, False, False
        while True:
            token = self.token if with_token else None
            try:
                answer = await self._once(method, path, body, query, key, token)
            except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
                failure: Exception = Unreachable(f"no answer from {self._addresses.current}: {_told(error)}")
                wait_s = None
            except httpx.TransportError as error:
                failure = Unreachable(f"the connection to {self._addresses.current} broke: {_told(error)}")
                if not safe:
                    raise failure from error
                repeated, wait_s = True, None
            else:
                if answer.is_success:
                    return answer.content
                refused = _refusal(answer)
                if answer.status_code == 401 and token and self.renew is not None and not renewed:
                    renewed = True
                    if await self.renew(token):
                        continue
                if repeated and method == "DELETE" and isinstance(refused, NotFound):
                    return b""  # an attempt whose answer was lost had done it
                if not _may_repeat(refused, safe):
                    raise refused
                repeated = repeated or not isinstance(refused, RateLimited)
                failure, wait_s = refused, refused.retry_after_s
            failures += 1
            self._addresses.turn()
            rounds = (failures - 1) // len(self._addresses)
            pause_s = full_jitter(rounds, _PAUSE_S, _PAUSE_CAP_S, self._rng) + (wait_s or 0.0)
            if time.monotonic() + pause_s > deadline:
                raise failure
            await asyncio.sleep(pause_s)

    async def _once(
        self, method: str, path: str, body: object, query: Query | None, key: str | None, token: str | None
    ) -> httpx.Response:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        if key is not None:
            headers["Idempotency-Key"] = key
        content = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            content = msgspec.json.encode(body)
        given = {name: value for name, value in (query or {}).items() if value is not None}
        url = f"{self._addresses.current}{BASE}{path}"
        return await self._http.request(method, url, content=content, headers=headers, params=given or None)


def decoded(content: bytes, shape: type[T]) -> T:
    """An answer's body as what it should be. Raises ``BadAnswer``."""
    try:
        return msgspec.json.decode(content, type=shape)
    except msgspec.MsgspecError as error:
        raise BadAnswer(f"the answer is not what was asked for: {error}") from error


def retry_after_s(header: str | None) -> float | None:
    """The header's seconds, as the service writes them; None for anything else, and at most an hour."""
    if header is None or not (header.isascii() and header.isdigit() and len(header) < 10):
        return None
    return min(float(header), 3600.0)


def refusal_from(status: int, content: bytes, retry_after: str | None) -> Refused:
    """The error of an answer that is no success, whoever gave it."""
    try:
        said = msgspec.json.decode(content, type=_Body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        said = _Body()
    return kind_of_status(status)(
        said.code or f"http_{status}",
        said.error or f"HTTP {status}",
        status=status,
        retry_after_s=retry_after_s(retry_after),
        messages=said.messages or (),
    )


def _refusal(answer: httpx.Response) -> Refused:
    return refusal_from(answer.status_code, answer.content, answer.headers.get("Retry-After"))


def _may_repeat(refused: Refused, safe: bool) -> bool:
    if isinstance(refused, RateLimited) or refused.code in _REFUSED_BEFORE_DOING:
        return True
    return safe and isinstance(refused, Unavailable) and refused.status in (502, 503, 504)


def _told(error: Exception) -> str:
    return str(error) or type(error).__name__
