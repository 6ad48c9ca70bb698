"""The JSON Schema of ``config.yaml``, for editors that complete and check."""

from __future__ import annotations

from inspect import getdoc

import msgspec

from chatapp.config.given import UNUSED
from chatapp.config.keys import Key, Section, sections
from chatapp.config.showing import to_plain
from chatapp.config.values import RATE_PATTERN, Rate, Secret

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def config_schema() -> dict[str, object]:
    """All sections and keys with their bounds, defaults and meanings.

    Stricter than the loader, which takes "80" as 80.
    """
    return {
        "$schema": _DIALECT,
        "title": "config.yaml of chatapp",
        "type": "object",
        "additionalProperties": False,
        "properties": {section.name: _section(section) for section in sections()},
    }


def _section(section: Section) -> dict[str, object]:
    unused = {name: {"description": "Accepted for old files, and not used."} for name in UNUSED}
    return {
        "description": " ".join((getdoc(section.type) or "").split()),
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {key.name: _key(key) for key in section.keys} | unused,
    }


def _key(key: Key) -> dict[str, object]:
    schema = msgspec.json.schema(key.type, schema_hook=_custom)
    schema.pop("$defs", None)
    unit = f" [{key.unit}]" if key.unit else ""
    schema["description"] = f"{key.description} Takes {key.expected}{unit}."
    if key.default is not None:
        schema["default"] = to_plain(key, key.default)
    return schema


def _custom(kind: type) -> dict[str, object]:
    if kind is Secret:
        return {"type": "string"}
    if kind is Rate:
        return {"type": "string", "pattern": RATE_PATTERN}
    raise NotImplementedError
