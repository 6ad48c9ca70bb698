"""The description of the interface: OpenAPI, served at ``/schema/openapi.json``.

Answers are described by what handlers return; what handlers read by hand (bodies, parameters) is described here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any, cast

import msgspec
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import (
    Components,
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    Parameter,
    Reference,
    RequestBody,
    Schema,
    SecurityScheme,
)
from msgspec import Struct

from chatapp.api.errors import InvalidFields, Refusal
from chatapp.api.reading import JSON, MULTIPART, URL_ENCODED
from chatapp.api.schema_page import schema_page, schema_router
from chatapp.errors import FieldProblem
from chatapp.protocol.ids import MAX_INT64

BEARER = [{"bearer": list[str]()}]
"""A handler's ``security``: wants a token."""

_REFUSALS: Mapping[int, tuple[str, str, Struct]] = {
    400: ("Invalid", "The request is wrong in itself", InvalidFields([FieldProblem("name", "required")])),
    401: ("Unauthenticated", "No token, or a bad one", Refusal("invalid or expired token", "invalid_token")),
    403: ("Forbidden", "Not allowed", Refusal("you are not a member of this chat", "not_a_member")),
    404: ("NotFound", "There is no such thing", Refusal("message not found", "message_not_found")),
    409: ("Conflict", "The state of things speaks against it", Refusal("username already exists", "username_taken")),
    413: ("TooLarge", "The body is too large", Refusal("the body is too large", "too_large")),
    415: ("UnsupportedMediaType", "Neither JSON nor a form", Refusal("…", "unsupported_media_type")),
    429: ("RateLimited", "Too often; Retry-After says when again", Refusal("too many requests", "rate_limited")),
    503: (
        "Unavailable",
        "A part of the service is away; Retry-After says when again",
        Refusal("the service is temporarily unavailable", "unavailable"),
    ),
}
_QUERY: Mapping[str, tuple[str, Schema]] = {
    "limit": ("How many at most", Schema(type=OpenAPIType.INTEGER, minimum=1, maximum=100, default=50)),
    "offset": ("How many to skip", Schema(type=OpenAPIType.INTEGER, minimum=0, maximum=MAX_INT64, default=0)),
    "q": ("A prefix of user name or display name, without regard to case", Schema(type=OpenAPIType.STRING)),
    "with_members": ("Whether to list members", Schema(type=OpenAPIType.BOOLEAN, default=True)),
    "before": ("Only what has a lower seq", Schema(type=OpenAPIType.INTEGER, minimum=0, maximum=MAX_INT64)),
    "after": (
        "Only what has a higher seq, oldest first",
        Schema(type=OpenAPIType.INTEGER, minimum=0, maximum=MAX_INT64),
    ),
}
_IDEMPOTENCY = Parameter(
    name="Idempotency-Key",
    param_in="header",
    required=False,
    description="1 to 64 visible ASCII characters: the same message is stored once, however often it is sent",
    schema=Schema(type=OpenAPIType.STRING, min_length=1, max_length=64, pattern="^[!-~]+$"),
)
PAGE = ("limit", "offset")
"""The query of a list."""


def operation(
    *,
    takes: type[Struct] | None = None,
    example: Mapping[str, Any] | None = None,
    gives: Struct | list[Struct] | Mapping[str, Any] | None = None,
    path: Collection[str] = (),
    query: Collection[str] = (),
    idempotent: bool = False,
    repeats: bool = False,
    refuses: Collection[int] = (),
) -> type[Operation]:
    """A handler's ``operation_class``: which body it takes and parameters it reads, and with what it answers.

    ``gives`` is an example of the answer, ``example`` one of the body; ``repeats``: what was there already is answered
    with 200 instead of 201. 401 and what every body may cause is added.
    """
    statuses = {*refuses, 503, *((400, 413, 415) if takes else ()), *((400,) if path or query else ())}

    @dataclass
    class Documented(Operation):
        def __post_init__(self) -> None:
            if takes is not None:
                self.request_body = _body(takes, example)
            self.parameters = [*_path(path), *_query(query), *([_IDEMPOTENCY] if idempotent else [])]
            also = {401} if self.security else set()
            answers = {status: answer for status, answer in (self.responses or {}).items() if status < "400"}
            if repeats:
                answers["200"] = replace(answers["201"], description="It was there already")
            for answer in answers.values():
                if gives is not None and isinstance(answer, OpenAPIResponse) and answer.content:
                    for media_type in answer.content.values():
                        media_type.example = msgspec.to_builtins(gives)
            refused: dict[str, OpenAPIResponse | Reference] = {
                str(status): Reference(ref=f"#/components/responses/{_REFUSALS[status][0]}")
                for status in sorted(statuses | also)
            }
            self.responses = {**answers, **refused}

    return Documented


def openapi_config() -> OpenAPIConfig:
    """For the application."""
    return OpenAPIConfig(
        title="chatapp",
        version=version("chatapp"),
        description="Chats over REST; live events over the WebSocket at `/ws`, which is described "
        "as AsyncAPI at [/schema/asyncapi.json](/schema/asyncapi.json).",
        components=Components(
            security_schemes={"bearer": SecurityScheme(type="http", scheme="bearer", bearer_format="PASETO v4.local")},
            responses={name: _refusal(text, example) for name, text, example in _REFUSALS.values()},
        ),
        use_handler_docstrings=True,
        openapi_router=schema_router(),
        render_plugins=[JsonRenderPlugin(path="/openapi.json"), *schema_page()],
    )


def _body(kind: type[Struct], example: Mapping[str, Any] | None) -> RequestBody:
    described = msgspec.json.schema(kind)["$defs"][kind.__name__]
    required = described.get("required", [])
    # null is as if it were left out; a form has no null.
    nullable = {
        name: field if name in required else {"anyOf": [field, {"type": "null"}]}
        for name, field in described["properties"].items()
    }
    form = OpenAPIMediaType(schema=cast(Schema, described), example=example)  # a dict is rendered as it is
    content = OpenAPIMediaType(schema=cast(Schema, {**described, "properties": nullable}), example=example)
    return RequestBody(content={JSON: content, URL_ENCODED: form, MULTIPART: form}, required=True)


def _refusal(text: str, example: Struct) -> OpenAPIResponse:
    words = {"type": "string"}
    schema = {"type": "object", "properties": {"error": words, "code": words}, "required": ["error", "code"]}
    media_type = OpenAPIMediaType(schema=cast(Schema, schema), example=msgspec.to_builtins(example))
    return OpenAPIResponse(description=text, content={JSON: media_type})


def _path(names: Collection[str]) -> list[Parameter | Reference]:
    schema = Schema(type=OpenAPIType.INTEGER, minimum=1, maximum=MAX_INT64)
    return [Parameter(name=name, param_in="path", required=True, schema=schema) for name in names]


def _query(names: Collection[str]) -> list[Parameter | Reference]:
    return [
        Parameter(name=name, param_in="query", required=False, description=_QUERY[name][0], schema=_QUERY[name][1])
        for name in names
    ]
