"""The description of the socket: AsyncAPI 3, made from the types of the protocol.

Served at ``/schema/asyncapi.json`` and ``/schema/asyncapi.yaml``; ``docs/asyncapi.yaml`` is the same.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from typing import Any, get_args

import msgspec
import yaml
from msgspec import Struct

from chatapp.protocol import commands, events
from chatapp.protocol.codes import CloseCode
from chatapp.protocol.examples import command_examples, event_examples

_CHANNEL = "#/channels/socket"
_DESCRIPTION = """\
JSON text frames, `{"type": …, "payload": {…}}`. A command may carry an `id`, and the `ack` or `error` that answers it
carries the same. What is not known must be ignored, in both directions. Positions, replays and safe retries are
explained in docs/protocol.md.
"""
_ANSWERED_OTHERWISE = {"ping": ("pong",), "typing": ("error",), "presence": ("presence", "ack", "error")}


def asyncapi() -> dict[str, Any]:
    """The document, of plain values."""
    asked, told = _tagged(commands.Command), _tagged(events.ServerEvent)
    given = {"command": _examples(command_examples()), "event": _examples(event_examples())}
    _, schemas = msgspec.json.schema_components(
        [*asked.values(), *told.values()], ref_template="#/components/schemas/{name}"
    )
    for schema in schemas.values():
        if "description" in schema:  # a docstring, which has the source's indentation before Python 3.13
            schema["description"] = inspect.cleandoc(schema["description"])
    names = _schema_names([*asked.values(), *told.values()])
    messages = {
        f"{side}.{tag}": _message(kind, tag, names[kind], given[side][tag])
        for side, kinds in (("command", asked), ("event", told))
        for tag, kind in kinds.items()
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "chatapp",
            "version": version("chatapp"),
            "description": _DESCRIPTION,
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "replica": {
                "host": "{address}",
                "protocol": "wss",
                "description": "Any replica, or what balances the load between them; ws without TLS.",
                "variables": {"address": {"default": "localhost:8080", "description": "Host and port"}},
                "security": [
                    {"$ref": f"#/components/securitySchemes/{name}"}
                    for name in ("bearer", "query", "subprotocol", "ticket")
                ],
            }
        },
        "channels": {"socket": _channel(messages)},
        "operations": _operations(asked, told),
        "components": {
            "messages": messages,
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "PASETO v4.local"},
                "query": {"type": "httpApiKey", "in": "query", "name": "token"},
                "ticket": {
                    "type": "httpApiKey",
                    "in": "query",
                    "name": "ticket",
                    "description": "From `POST /api/v1/auth/ws-ticket`, for one socket.",
                },
                "subprotocol": {
                    "type": "httpApiKey",
                    "in": "header",
                    "name": "Sec-WebSocket-Protocol",
                    "description": "For browsers: `chatapp.v1, bearer.<token>`, of which `chatapp.v1` is answered.",
                },
            },
        },
    }


def asyncapi_yaml() -> str:
    """The document as YAML."""
    return yaml.safe_dump(asyncapi(), sort_keys=False, allow_unicode=True, width=118)


def _channel(messages: Iterable[str]) -> dict[str, Any]:
    resume = "Chats to replay right after `ready`: `<chat>:<seq>,…`"
    return {
        "address": "/ws",
        "title": "The socket",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
        "bindings": {
            "ws": {
                "method": "GET",
                "query": {
                    "type": "object",
                    "properties": {
                        "token": {"type": "string", "description": "Unless it is given in a header"},
                        "ticket": {"type": "string", "description": "Instead of a token"},
                        "follow": {"type": "string", "enum": ["all", "none"], "default": "all"},
                        "resume": {"type": "string", "description": resume},
                    },
                },
                "bindingVersion": "0.1.0",
            }
        },
        "x-close-codes": {str(code.value): code.name.lower().replace("_", " ") for code in CloseCode},
    }


def _operations(asked: dict[str, type[Struct]], told: dict[str, type[Struct]]) -> dict[str, Any]:
    """From the side of the service: it receives commands and sends events."""
    operations: dict[str, Any] = {}
    for tag in asked:
        answers = _ANSWERED_OTHERWISE.get(tag, ("ack", "error"))
        operations[f"command.{tag}"] = {
            "action": "receive",
            "channel": {"$ref": _CHANNEL},
            "messages": [_in_channel(f"command.{tag}")],
            "reply": {
                "channel": {"$ref": _CHANNEL},
                "messages": [_in_channel(f"event.{answer}") for answer in answers],
            },
        }
    operations["events"] = {
        "action": "send",
        "channel": {"$ref": _CHANNEL},
        "messages": [_in_channel(f"event.{tag}") for tag in told],
    }
    return operations


def _in_channel(name: str) -> dict[str, str]:
    return {"$ref": f"{_CHANNEL}/messages/{name}"}


def _message(kind: type[Struct], tag: str, schema: str, examples: Sequence[object]) -> dict[str, Any]:
    summary, _, rest = (inspect.getdoc(kind) or "").replace("``", "`").partition("\n\n")
    told = {"name": tag, "title": tag, "summary": " ".join(summary.split())}
    if rest:
        told["description"] = rest
    return {
        **told,
        "payload": {"$ref": f"#/components/schemas/{schema}"},
        "examples": [{"payload": example} for example in examples],
    }


def _tagged(union: object) -> dict[str, type[Struct]]:
    """The members of a tagged union by their tag."""
    return {str(kind.__struct_config__.tag): kind for kind in get_args(union)}


def _examples(values: Iterable[Struct]) -> dict[str, list[object]]:
    found: dict[str, list[object]] = {}
    for value in values:
        frame = msgspec.json.decode(msgspec.json.encode(value))
        found.setdefault(frame["type"], []).append(frame)
    return found


def _schema_names(kinds: Sequence[type[Struct]]) -> dict[type[Struct], str]:
    """What msgspec calls each of them: it qualifies names that are there twice."""
    references, _ = msgspec.json.schema_components(kinds, ref_template="{name}")
    return {kind: reference["$ref"] for kind, reference in zip(kinds, references, strict=True)}
