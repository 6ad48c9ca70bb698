"""A request's body to a typed one: JSON (RFC 8259) or a form, strictly."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections import defaultdict
from functools import lru_cache
from typing import Any, NoReturn, TypeVar
from urllib.parse import parse_qsl

import msgspec
from litestar import Request
from litestar.datastructures import UploadFile
from litestar.exceptions import HTTPException, InternalServerException
from msgspec import NODEFAULT, Struct

from chatapp.errors import FieldProblem, Malformed, UnsupportedMediaType, ValidationFailed
from chatapp.protocol.text import is_storable

JSON = "application/json"
URL_ENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"

FORM_FIELDS = 2048
"""How many fields a form may have."""

T = TypeVar("T", bound=Struct)

_BOUND = re.compile(r"(>=|<=) ([0-9]+)")
_UTF8 = {"utf-8", "utf8", "us-ascii"}


async def read(request: Request[Any, Any, Any], kind: type[T]) -> T:
    """The body as a ``kind``.

    Raises ``UnsupportedMediaType``, ``Malformed`` (not JSON, not UTF-8, nested too deeply, a key twice, empty), or
    ``ValidationFailed`` with all fields that are missing or of the wrong type; beyond the limits of size or time
    Litestar's exceptions for 413 and 408.
    """
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("the body must not be compressed")
    media_type, options = request.content_type
    try:
        async with asyncio.timeout(request.app.state.body_timeout_s):
            if media_type == MULTIPART:
                return _from_form(await _multipart(request), kind)
            body = await request.body()
    except TimeoutError:
        raise HTTPException(status_code=408) from None
    except InternalServerException:  # Litestar's word for a client that is gone, or broke HTTP, within its body
        raise Malformed("the body is cut off") from None
    if not media_type and not body:
        raise Malformed("the body is empty")
    if media_type not in (JSON, URL_ENCODED) or options.get("charset", "utf-8").lower() not in _UTF8:
        raise UnsupportedMediaType("the body must be JSON or a form")
    text = _decoded(body)
    return _from_form(_url_encoded(text), kind) if media_type == URL_ENCODED else _from_json(text, kind)


# -- JSON ---------------------------------------------------------------------------------------------------------


def _from_json(text: str, kind: type[T]) -> T:
    try:
        given = json.loads(
            text, object_pairs_hook=_object, parse_constant=_refuse_constant, parse_float=_finite, parse_int=_integer
        )
    except RecursionError:
        raise Malformed("the body is nested too deeply") from None
    except ValueError:
        raise Malformed("the body is not valid JSON") from None
    if not isinstance(given, dict):
        raise Malformed("the body must be a JSON object")
    return _convert(given, kind, strict=True)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Malformed("the body gives a key twice")
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise Malformed("the body is not valid JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise Malformed("the body has a number that is too large")
    return value


def _integer(digits: str) -> int:
    # Far beyond 64 bits already; what is within is checked against the field's bounds.
    if len(digits) > 40:
        raise Malformed("the body has a number that is too large")
    return int(digits)


# -- forms --------------------------------------------------------------------------------------------------------


def _url_encoded(text: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=FORM_FIELDS)
    except ValueError:
        raise Malformed("the form cannot be read") from None


async def _multipart(request: Request[Any, Any, Any]) -> list[tuple[str, str]]:
    try:
        form = await request.form()
    except (UnicodeDecodeError, LookupError):
        raise Malformed("the form cannot be read") from None
    fields: list[tuple[str, str]] = []
    try:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                raise ValidationFailed.of(str(name), "type", "a field and not a file")
            fields.append((str(name), str(value)))
    finally:
        await form.close()
    return fields


def _from_form(fields: list[tuple[str, str]], kind: type[T]) -> T:
    if not fields:
        raise Malformed("the body is empty")
    values: defaultdict[str, list[str]] = defaultdict(list)
    for name, value in fields:
        values[name].append(value)
    given: dict[str, Any] = {}
    lists = _lists_of(kind)
    for field in msgspec.structs.fields(kind):
        found = values.get(field.encode_name)
        if found is None:
            continue
        if field.encode_name in lists:
            given[field.encode_name] = [item.strip() for value in found for item in value.split(",") if item.strip()]
        elif len(found) > 1:
            raise Malformed("the body gives a key twice")
        else:
            given[field.encode_name] = found[0]
    return _convert(given, kind, strict=False)


@lru_cache
def _lists_of(kind: type[Struct]) -> frozenset[str]:
    """The names of the fields that hold lists."""
    described = {field.encode_name: msgspec.inspect.type_info(field.type) for field in msgspec.structs.fields(kind)}
    bare = {name: t.type if isinstance(t, msgspec.inspect.Metadata) else t for name, t in described.items()}
    return frozenset(name for name, t in bare.items() if isinstance(t, msgspec.inspect.ListType))


# -- both ---------------------------------------------------------------------------------------------------------


def _decoded(body: bytes) -> str:
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed("the body is not UTF-8") from None
    if not text.strip():
        raise Malformed("the body is empty")
    return text


def _convert(given: dict[str, Any], kind: type[T], *, strict: bool) -> T:
    """All fields, one by one, so that all problems are told at once. null is as if it were left out."""
    problems: list[FieldProblem] = []
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        value = given.get(field.encode_name)
        if value is None:
            if field.default is NODEFAULT and field.default_factory is NODEFAULT:
                problems.append(FieldProblem(field.encode_name, "required"))
            continue
        try:
            values[field.name] = msgspec.convert(value, field.type, strict=strict)
        except msgspec.ValidationError as error:
            problems.append(_problem(field.encode_name, str(error)))
            continue
        if isinstance(value, str) and not is_storable(value):
            problems.append(FieldProblem(field.encode_name, "type", "text without NUL and lone surrogates"))
    if problems:
        raise ValidationFailed(problems)
    return kind(**values)


def _problem(field: str, complaint: str) -> FieldProblem:
    """msgspec says ``Expected `int` >= 1`` of a bound and ``Expected `int`, got `str``` of a type."""
    bound = _BOUND.search(complaint)
    if bound is not None:
        return FieldProblem(field, "min" if bound[1] == ">=" else "max", bound[2])
    expected = re.search(r"Expected `([a-z]+)", complaint)
    return FieldProblem(field, "type", expected[1] if expected else "")
