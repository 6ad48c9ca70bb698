"""What a client writes: messages that keep their nonce until they are answered, and changes that are tried once."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Callable
from typing import TypeVar

from msgspec import Struct

from chatapp.protocol.events import AckPayload, ErrorPayload
from chatapp.protocol.ids import ChatId, MessageId, Seq
from tests.chaos.history import (
    ChangeAcked,
    ChangeInvoked,
    ChangeRefused,
    ClientHistory,
    SendAcked,
    SendInvoked,
    SendRefused,
    digest,
)

ANSWER_TIMEOUT_S = 2.0
RETRYABLE = frozenset({"unavailable", "overloaded", "rate_limited", "internal"})
"""Codes of errors after which the same may succeed."""

Payload = dict[str, int | str]
Write = Callable[[str, Payload, str], bool]
"""Queue a command (type, payload, id); False when the queue is full."""
T = TypeVar("T")


class Sent(Struct, frozen=True):
    """A message that was acked."""

    chat_id: ChatId
    message_id: MessageId
    seq: Seq


class Refusal(Struct, frozen=True):
    """A message that will not be kept."""

    code: str


class _Outstanding(Struct):
    chat_id: ChatId
    nonce: str
    content: str
    answer: asyncio.Future[Sent | Refusal]
    attempts: int = 0
    due: float = 0.0
    """When to try (again)."""


class Sender:
    """The writing half of a client. Without I/O of its own."""

    def __init__(self, history: ClientHistory, write: Write, rng: random.Random) -> None:
        self._history = history
        self._write = write
        self._rng = rng
        self._outstanding: dict[str, _Outstanding] = {}
        self._changes: dict[str, asyncio.Future[bool]] = {}
        self._numbers = itertools.count(1)

    async def send(self, chat_id: ChatId, content: str) -> Sent | Refusal:
        """A new message, repeated with the same nonce until it has a definite answer."""
        return await self.send_as(chat_id, content, f"{self._history.client}-{next(self._numbers)}", first=True)

    async def send_as(self, chat_id: ChatId, content: str, nonce: str, *, first: bool) -> Sent | Refusal:
        """As ``send``, with a given nonce. ``first`` False: another device of the user sends the same message."""
        if first:
            self._history.records.append(SendInvoked(time.monotonic(), chat_id, nonce, digest(content)))
        sending = _Outstanding(chat_id, nonce, content, asyncio.get_running_loop().create_future())
        self._outstanding[nonce] = sending
        self._attempt(sending)
        try:
            return await sending.answer
        finally:
            del self._outstanding[nonce]

    async def change(self, chat_id: ChatId, message_id: MessageId, content: str | None) -> bool:
        """Edit a message, or delete it (None), once. False where it was refused or nothing is known of its end."""
        ref = f"{self._history.client}-change-{next(self._numbers)}"
        new = None if content is None else digest(content)
        self._history.records.append(ChangeInvoked(time.monotonic(), ref, chat_id, message_id, new))
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._changes[ref] = answer
        payload: Payload = {"message_id": message_id}
        if content is not None:
            payload["content"] = content
        self._write("delete_message" if content is None else "edit_message", payload, ref)
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                return await answer
        except TimeoutError:
            return False
        finally:
            del self._changes[ref]

    def opened(self) -> None:
        """There is a new connection: what has no answer is due."""
        for sending in self._outstanding.values():
            sending.due = 0.0

    def do_what_is_due(self) -> None:
        """Send again what was not answered in time."""
        now = time.monotonic()
        for sending in self._outstanding.values():
            if sending.due <= now:
                self._attempt(sending)

    def on_ack(self, ref: str, ack: AckPayload) -> None:
        """An answer to anything; what is not ours, or was answered before, is left alone."""
        at, sending = time.monotonic(), self._outstanding.get(ref)
        if sending is not None and ack.message_id is not None and ack.seq is not None:
            self._history.records.append(SendAcked(at, sending.chat_id, sending.nonce, ack.message_id, ack.seq))
            _answer(sending.answer, Sent(sending.chat_id, ack.message_id, ack.seq))
        elif ref in self._changes:
            self._history.records.append(ChangeAcked(at, ref))
            _answer(self._changes[ref], True)

    def on_error(self, ref: str, error: ErrorPayload) -> None:
        """As ``on_ack``."""
        at, sending = time.monotonic(), self._outstanding.get(ref)
        final = error.code not in RETRYABLE
        if sending is not None and final:
            self._history.records.append(SendRefused(at, sending.nonce, error.code, sending.attempts))
            _answer(sending.answer, Refusal(error.code))
        elif sending is not None:
            sending.due = at + (error.retry_after or self._rng.uniform(0.05, 0.5))
        elif ref in self._changes:
            if final:
                self._history.records.append(ChangeRefused(at, ref, error.code))
            _answer(self._changes[ref], False)

    def _attempt(self, sending: _Outstanding) -> None:
        payload: Payload = {"chat_id": sending.chat_id, "content": sending.content, "nonce": sending.nonce}
        sending.due = time.monotonic() + ANSWER_TIMEOUT_S
        if self._write("message", payload, sending.nonce):
            sending.attempts += 1


def _answer(future: asyncio.Future[T], value: T) -> None:
    if not future.done():
        future.set_result(value)
