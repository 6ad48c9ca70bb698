"""The socket's description: valid AsyncAPI, whole, and true to what the decoder takes and the encoder makes."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
import yaml
from jsonschema import Draft7Validator, Draft202012Validator

from chatapp.api.asyncapi import asyncapi, asyncapi_yaml
from chatapp.protocol import commands, events
from chatapp.protocol.examples import command_examples, event_examples
from tests.api.conftest import Api

SCHEMA = Path(__file__).parent / "asyncapi" / "3.0.0.json.gz"
COMMANDS, EVENTS = command_examples(), event_examples()


def frame_of(value: msgspec.Struct) -> dict[str, Any]:
    return dict(msgspec.json.decode(msgspec.json.encode(value)))


def validator_of(side: str, tag: str) -> Draft202012Validator:
    document = asyncapi()
    payload = document["components"]["messages"][f"{side}.{tag}"]["payload"]
    return Draft202012Validator({**payload, "components": document["components"]})


async def test_it_is_valid() -> None:
    schema = json.loads(gzip.decompress(SCHEMA.read_bytes()))
    errors = list(Draft7Validator(schema).iter_errors(asyncapi()))
    assert not errors, [(list(error.path), error.message) for error in errors[:3]]


async def test_every_reference_leads_somewhere() -> None:
    document = asyncapi()

    def follow(value: object) -> None:
        if isinstance(value, dict):
            if isinstance(reference := value.get("$ref"), str):
                target: Any = document
                for step in reference.removeprefix("#/").split("/"):
                    target = target[step]
            for inner in value.values():
                follow(inner)
        elif isinstance(value, list):
            for inner in value:
                follow(inner)

    follow(document)


async def test_everything_that_crosses_the_socket_is_described_with_an_example() -> None:
    messages = asyncapi()["components"]["messages"]
    wanted = {f"command.{kind.__struct_config__.tag}" for kind in get_args(commands.Command)}
    wanted |= {f"event.{kind.__struct_config__.tag}" for kind in get_args(events.ServerEvent)}
    assert messages.keys() == wanted
    for name, message in messages.items():
        assert message["examples"], name
        assert message["summary"], name
    operations = asyncapi()["operations"]
    assert {name for name in operations if name != "events"} == {name for name in wanted if name.startswith("command.")}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: type(command).__name__)
async def test_each_example_of_a_command_is_what_the_service_reads(command: commands.Command) -> None:
    frame = frame_of(command)
    assert commands.parse(json.dumps(frame).encode()) == command
    validator_of("command", frame["type"]).validate(frame)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
async def test_each_example_of_an_event_is_what_the_service_writes(event: events.ServerEvent) -> None:
    text = events.encode_event(event)
    assert msgspec.json.decode(text, type=events.ServerEvent) == event
    frame = json.loads(text)
    validator_of("event", frame["type"]).validate(frame)
    assert frame in [e["payload"] for e in asyncapi()["components"]["messages"][f"event.{frame['type']}"]["examples"]]


@pytest.mark.parametrize(
    "frame", [{"type": "message", "payload": {"chat_id": 0, "content": "x"}}, {"type": "presence", "payload": {}}]
)
async def test_what_the_service_refuses_the_description_does_too(frame: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        commands.parse(json.dumps(frame).encode())
    assert not validator_of("command", frame["type"]).is_valid(frame)


async def test_it_is_served_and_linked_from_the_page(api: Api) -> None:
    served = await api.anonymous.get("http://chat.test/schema/asyncapi.json")
    assert served.headers["content-type"].startswith("application/json")
    assert served.json() == asyncapi()
    text = await api.anonymous.get("http://chat.test/schema/asyncapi.yaml")
    assert text.text == asyncapi_yaml()
    assert yaml.safe_load(text.text) == asyncapi()
    assert 'href="/schema/asyncapi.json"' in (await api.anonymous.get("http://chat.test/schema")).text
