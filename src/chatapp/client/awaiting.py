"""Those who wait for the answers to their commands."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

import msgspec

from chatapp.client.errors import ClientError, SessionClosed, Unanswered
from chatapp.client.outbox import Outbox
from chatapp.protocol.commands import DeleteMessage, EditMessage, MarkRead, SendMessage
from chatapp.protocol.events import AckPayload

PENDING_LIMIT = 1000
"""Commands that wait for their answer; who has one more waits."""
GIVE_UP_S = 120.0
"""How long anybody waits who does not say otherwise."""
Answerable = SendMessage | EditMessage | DeleteMessage | MarkRead


class Awaiting:
    """One for each session. ``added`` is called when a command is in the outbox."""

    def __init__(self, outbox: Outbox, added: Callable[[], None]) -> None:
        self._outbox = outbox
        self._added = added
        self._gate = asyncio.Semaphore(PENDING_LIMIT)
        self._answers: dict[str, asyncio.Future[AckPayload]] = {}
        self._numbers = itertools.count(1)
        self._over: SessionClosed | None = None

    async def perform(
        self,
        command: Callable[[str], Answerable],
        within_s: float,
        what: str,
        *,
        nonce: str | None = None,
        deletes: bool = False,
        once: bool = False,
    ) -> AckPayload:
        """Have a command (made with the ``id`` that it is given) written and wait for its answer.

        Raises ``Refused``, ``Unanswered`` after ``within_s`` seconds, ``SessionClosed``.
        """
        try:
            async with asyncio.timeout(within_s), self._gate:
                if self._over is not None:
                    raise self._over
                ref = f"c{next(self._numbers)}"
                frame = msgspec.json.encode(command(ref))
                answer: asyncio.Future[AckPayload] = asyncio.get_running_loop().create_future()
                self._answers[ref] = answer
                try:
                    self._outbox.add(ref, frame, deletes=deletes, once=once)
                    self._added()
                    return await answer
                finally:
                    self._outbox.drop(ref)
                    del self._answers[ref]
        except TimeoutError:
            raise Unanswered(what, nonce) from None

    def settle(self, ref: str, answer: AckPayload | ClientError) -> None:
        """The answer to a command."""
        future = self._answers.get(ref)
        if future is None or future.done():
            return
        if isinstance(answer, ClientError):
            future.set_exception(answer)
        else:
            future.set_result(answer)

    def end(self, over: SessionClosed) -> None:
        """No more answers come."""
        self._over = over
        for future in self._answers.values():
            if not future.done():
                future.set_exception(over)
