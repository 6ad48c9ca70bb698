"""Several servers are asked the same, and some of them may be dead, frozen or behind."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from chatapp.bus.resp import Refused

_logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")


async def ask_majority(questions: Sequence[Coroutine[Any, Any, Answer]]) -> list[Answer]:
    """What was answered, in the order of the questions, once more than half have answered or all have ended.

    Each question bounds its own time. ``OSError``, ``Refused`` and ``ValueError`` mean no answer; others are raised.
    """
    tasks = [asyncio.ensure_future(question) for question in questions]
    pending = set(tasks)
    try:
        while pending and 2 * sum(_answered(task) for task in tasks) <= len(tasks):
            _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        return [task.result() for task in tasks if _answered(task)]
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _answered(task: asyncio.Future[Answer]) -> bool:
    if not task.done() or task.cancelled():
        return False
    problem = task.exception()
    if problem is None:
        return True
    if not isinstance(problem, OSError | Refused | ValueError):
        raise problem
    _logger.debug("bus: a server gave no answer: %s", str(problem) or type(problem).__name__)
    return False
