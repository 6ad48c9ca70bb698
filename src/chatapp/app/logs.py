"""Logging: structlog over the standard library, lines for people on a terminal and JSON elsewhere, without secrets."""

from __future__ import annotations

import logging
import re
import sys
from typing import Literal

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_TOKEN = re.compile(r"v4\.local\.[A-Za-z0-9_.-]{8,}|(?<=[?&]token=)[^&\s\"']+|(?<=[?&]ticket=)[^&\s\"']+")


def configure(level: Literal["debug", "info", "warn", "error"], form: Literal["auto", "json", "console"]) -> None:
    """Everything that is logged in this process goes to standard error, once, with tokens blotted out."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    as_json = form == "json" or (form == "auto" and not sys.stderr.isatty())
    last: list[Processor] = (
        [structlog.processors.format_exc_info, _blot, structlog.processors.JSONRenderer()]
        if as_json
        else [_blot, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(
        {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}[level]
    )
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "asyncio", "alembic"):
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = True
    logging.getLogger("uvicorn.access").disabled = True
    logging.getLogger("chatapp.gateway.wire").setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").addFilter(_without_color)
    logging.getLogger("alembic").setLevel(logging.WARNING)


def _without_color(record: logging.LogRecord) -> bool:
    record.__dict__.pop("color_message", None)
    return True


def _blot(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Tokens out of every text, wherever it came from."""
    for key, value in event.items():
        if isinstance(value, str) and ("v4.local." in value or "token=" in value or "ticket=" in value):
            event[key] = _TOKEN.sub("[token]", value)
    return event
