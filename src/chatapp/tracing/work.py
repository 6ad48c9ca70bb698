"""What the running task is about: a request, or a connection's commands.

Ids and the span belong to the task that bound them, and to no other: tasks and callbacks inherit the context of whoever
happened to start them, and many serve others too (the writer's group, the bus's pipeline, a group of new connections).
Their lines must not carry somebody's id. So what was bound counts only while the very same task runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from msgspec import Struct

from chatapp.tracing.port import Span


class Work(Struct, frozen=True, eq=False):
    """What was bound, and by which task."""

    task: asyncio.Task[Any] | None
    ids: Mapping[str, str]
    span: Span | None


_WORK: ContextVar[Work | None] = ContextVar("chatapp_work", default=None)


@contextmanager
def doing(ids: Mapping[str, str], span: Span | None = None) -> Iterator[None]:
    """Within it this task's lines carry ``ids`` (beside those that were bound around it). Needs a running loop."""
    outer = _current()
    if outer is not None:
        ids = {**outer.ids, **ids}
        span = span or outer.span
    token = _WORK.set(Work(asyncio.current_task(), ids, span))
    try:
        yield
    finally:
        _WORK.reset(token)


def current_ids() -> Mapping[str, str]:
    """What this task's lines carry. Empty outside of ``doing``, in other tasks, in callbacks and threads."""
    work = _current()
    return {} if work is None else work.ids


def current_span() -> Span | None:
    """The span that this task works for; None where nothing is traced or it is not sampled."""
    work = _current()
    return None if work is None else work.span


def _current() -> Work | None:
    work = _WORK.get()
    if work is None:
        return None
    try:
        task = asyncio.current_task()
    except RuntimeError:  # a thread
        return None
    return work if task is not None and task is work.task else None
