"""Refusals and failures as answers: the one place where an exception becomes a status."""

from __future__ import annotations

import logging
import math
from http import HTTPStatus
from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.types import ExceptionHandlersMap
from msgspec import Struct

from chatapp.api.request_id import request_id
from chatapp.errors import (
    ChatAppError,
    Conflict,
    FieldProblem,
    Forbidden,
    Invalid,
    NotFound,
    RateLimited,
    ResyncRequired,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnsupportedMediaType,
    ValidationFailed,
)

_log = logging.getLogger(__name__)

# The first class that fits counts: those below a class stand before it.
_STATUS: tuple[tuple[type[ChatAppError], int], ...] = (
    (TooLarge, 413),
    (UnsupportedMediaType, 415),
    (Invalid, 400),
    (Unauthenticated, 401),
    (Forbidden, 403),
    (NotFound, 404),
    (Conflict, 409),
    (ResyncRequired, 409),
    (RateLimited, 429),
    (Unavailable, 503),
)
_CODES = {400: "malformed", 404: "not_found", 405: "method_not_allowed", 408: "timeout", 413: "too_large"}


class Refusal(Struct, frozen=True):
    """Why a request was refused. ``error`` is for people and may change, ``code`` is for programs and does not."""

    error: str
    code: str


class InvalidFields(Struct, frozen=True):
    """Which fields were refused, and by which rule."""

    messages: list[FieldProblem]
    success: bool = False
    error: str = "validation failed"
    code: str = "validation_failed"


def exception_handlers() -> ExceptionHandlersMap:
    """For the whole application."""
    return {ChatAppError: _refused, HTTPException: _not_understood, Exception: _failed}


def status_of(error: ChatAppError) -> int:
    """The status that stands for this refusal."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 400)


def headers_of(error: ChatAppError) -> dict[str, str]:
    """What else the answer must carry: ``Retry-After`` in whole seconds, ``WWW-Authenticate``."""
    if isinstance(error, RateLimited | Unavailable):
        return {"Retry-After": str(max(1, math.ceil(error.retry_after_s)))}
    if isinstance(error, Unauthenticated):
        return {"WWW-Authenticate": "Bearer"}
    return {}


def _refused(request: Request[Any, Any, Any], error: ChatAppError) -> Response[Refusal | InvalidFields]:
    if isinstance(error, Unavailable):
        _log.info("unavailable: %s", error.error, extra={"request_id": request_id(request.scope)})
    content = (
        InvalidFields(error.messages) if isinstance(error, ValidationFailed) else Refusal(error.error, error.code_word)
    )
    return Response(content, status_code=status_of(error), headers=headers_of(error))


def _not_understood(request: Request[Any, Any, Any], error: HTTPException) -> Response[Refusal]:
    status = error.status_code
    if status >= 500:
        return _failed(request, error)
    sentence = "the body is too large" if status == 413 else HTTPStatus(status).phrase.lower()
    code = _CODES.get(status, "refused")
    return Response(Refusal(sentence, code), status_code=status, headers=error.headers)


def _failed(request: Request[Any, Any, Any], error: Exception) -> Response[Refusal]:
    _log.error("a request failed", exc_info=error, extra={"request_id": request_id(request.scope)})
    return Response(Refusal("internal error", "internal"), status_code=500)
