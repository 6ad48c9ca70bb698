"""Logging: structlog over the standard library, lines for people on a terminal and JSON elsewhere, without secrets.

Levels: ``info`` has a line for each request, refused handshake and closed socket; ``debug`` adds probes, opened sockets
and refused commands. Libraries are heard from ``info`` on, whatever is set: what they say at ``debug`` may quote
messages.
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import Mapping
from typing import Any, Literal

import structlog
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

from chatapp.tracing.work import current_ids

_TOKEN = re.compile(r"v4\.local\.[A-Za-z0-9_.-]{8,}|(?<=[?&]token=)[^&\s\"'\\]+|(?<=[?&]ticket=)[^&\s\"'\\]+")
_TOKEN_MARKS = ("v4.local.", "token=", "ticket=")
# C0, DEL, C1, line separators, marks that turn the direction of writing, lone surrogates.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}
_CAUSE_CHARS = 300
_CAUSES = 5


def configure(
    level: Literal["debug", "info", "warn", "error"], form: Literal["auto", "json", "console"], replica: str = ""
) -> None:
    """Everything that is logged in this process goes to standard error, once, with tokens blotted out.

    ``replica``: its name, which JSON carries in each line.
    """
    handler = logging.StreamHandler(sys.stderr)
    as_json = form == "json" or (form == "auto" and not sys.stderr.isatty())
    handler.setFormatter(formatter(as_json=as_json, colors=sys.stderr.isatty(), replica=replica))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(_LEVELS[level], logging.INFO))
    logging.getLogger("chatapp").setLevel(_LEVELS[level])
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "asyncio", "alembic"):
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = True
    logging.getLogger("uvicorn.access").disabled = True
    logging.getLogger("chatapp.gateway.wire").setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").addFilter(_without_color)
    for name in ("alembic", "httpx"):
        logging.getLogger(name).setLevel(logging.WARNING)


def formatter(*, as_json: bool, colors: bool = False, replica: str = "") -> logging.Formatter:
    """One line for each record (a traceback, for people, has more). Control characters are escaped in either form."""
    steps: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        _add_ids,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if replica and as_json:  # people look at one replica's terminal

        def add_replica(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
            event.setdefault("replica", replica)
            return event

        steps.append(add_replica)
    failures = structlog.processors.ExceptionRenderer(_describe)
    last: list[Processor] = (
        [failures, structlog.processors.JSONRenderer()]
        if as_json
        else [failures, _escape, structlog.dev.ConsoleRenderer(colors=colors)]
    )
    return _Blotting(
        foreign_pre_chain=steps, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last]
    )


class _Blotting(structlog.stdlib.ProcessorFormatter):
    """Takes tokens out of the finished line, wherever they came from."""

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        return _TOKEN.sub("[token]", line) if any(mark in line for mark in _TOKEN_MARKS) else line


def _without_color(record: logging.LogRecord) -> bool:
    record.__dict__.pop("color_message", None)
    return True


def _add_ids(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    ids: Mapping[str, Any] = current_ids()
    for name, value in ids.items():
        event.setdefault(name, value)
    return event


def _escape(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Nobody draws on the operator's terminal, or forges a line. JSON escapes by itself."""
    for name, value in event.items():
        if isinstance(value, str):
            lines = value.split("\n") if name == "exception" else [value]
            event[name] = "\n".join(_UNSAFE.sub(_escaped, line) for line in lines)
    return event


def _escaped(match: re.Match[str]) -> str:
    return match.group().encode("unicode_escape").decode("ascii")


def _describe(exc_info: ExcInfo) -> str:
    """Where it was raised, and of each cause the type and first line: what follows may quote a row of the database.

    Local variables are never shown: they hold messages and passwords.
    """
    parts: list[str] = []
    error: BaseException | None = exc_info[1]
    while error is not None and len(parts) < _CAUSES:
        kind = type(error)
        first = str(error).partition("\n")[0][:_CAUSE_CHARS]
        where = "".join(traceback.format_tb(error.__traceback__))
        parts.append(f"{where}{kind.__module__}.{kind.__qualname__}: {first}")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\ncaused by\n".join(parts)
