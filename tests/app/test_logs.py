from __future__ import annotations

import json
import logging

import pytest

from chatapp.app.logs import formatter
from chatapp.tracing.work import doing

HOSTILE = "\x1b[31mred\x1b[0m\r\n2026-01-01 [error] forged \x9b \u202e \u2028 \ud800"
TOKEN = "v4.local.AAAAbbbbCCCCdddd-_123.ZZZZ"


def written(as_json: bool, message: str, *args: object, error: BaseException | None = None, **extra: object) -> str:
    """The line, or lines, of a record."""
    exc_info = None if error is None else (type(error), error, error.__traceback__)
    record = logging.LogRecord("chatapp.test", logging.WARNING, __file__, 1, message, args, exc_info)
    record.__dict__.update(extra)
    return formatter(as_json=as_json).format(record)


@pytest.mark.parametrize("as_json", [True, False])
def test_text_of_clients_draws_nothing_and_forges_no_line(as_json: bool) -> None:
    line = written(as_json, "of %s", HOSTILE, path=HOSTILE)
    assert "\n" not in line
    assert "\r" not in line
    assert line.isprintable()
    line.encode()


@pytest.mark.parametrize("as_json", [True, False])
def test_tokens_are_blotted_out_wherever_they_stand(as_json: bool) -> None:
    error = ValueError(f"bad {TOKEN}")
    nested = {"inner": [TOKEN, f"/ws?follow=all&token={'s3cret' * 2}"]}
    line = written(as_json, 'GET "/ws?token=%s" of %s', "s3cret", TOKEN, nested=nested, error=error)
    assert "v4.local" not in line
    assert "s3cret" not in line
    if as_json:
        assert json.loads(line)["logger"] == "chatapp.test"


class RowError(Exception):
    """As asyncpg's: what follows the first line quotes the row."""


def store(row: str) -> None:
    raise RowError(f"null value in column x\nDETAIL:  Failing row contains (1, {row}).")


def failing(row: str) -> BaseException:
    try:
        try:
            store(row)
        except RowError as error:
            raise RuntimeError("not stored") from error
    except RuntimeError as error:
        return error
    raise AssertionError


@pytest.mark.parametrize("as_json", [True, False])
def test_a_traceback_shows_where_and_no_values(as_json: bool) -> None:
    words = "confidential words"
    line = written(as_json, "a request failed", error=failing(words))
    text = json.loads(line)["exception"] if as_json else line
    assert "RuntimeError: not stored" in text
    assert "RowError: null value in column x" in text
    assert "in failing" in text
    assert words not in text


def test_a_failure_without_a_traceback_is_told() -> None:
    assert "builtins.ValueError: short" in json.loads(written(True, "failed", error=ValueError("short")))["exception"]


async def test_a_line_carries_the_ids_of_its_task_unless_it_has_its_own() -> None:
    with doing({"request_id": "r1", "connection_id": "outer"}):
        told = json.loads(written(True, "hello", connection_id="inner"))
    assert (told["request_id"], told["connection_id"]) == ("r1", "inner")
    assert told["level"] == "warning"
    assert told["timestamp"].endswith("Z")
    assert "request_id" not in json.loads(written(True, "hello"))


def test_lines_for_people_say_the_same() -> None:
    line = written(False, "connection closed", code=1000, connection_id="abc")
    assert "connection closed" in line
    assert "code=1000" in line
    assert "connection_id=abc" in line
