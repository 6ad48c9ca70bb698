"""Real conversations in 28 languages, the package ``chatterbot-corpus``, held between two replicas.

A conversation of the corpus becomes a chat, its lines are spoken in turn by two or three people who sit at different
replicas, and all of it must reach the others in order and byte for byte, live and from the history.

The corpus has some 7,600 conversations with 19,600 lines, which take minutes. So every sixth conversation of each
language is held; ``CHATAPP_TEST_CORPUS_ONE_IN=1`` holds them all. What is no conversation there (a few entries that are
a mere sentence) is left out.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from msgspec import Struct
from websockets.asyncio.client import ClientConnection

from tests.acceptance.client import ANSWER_S, Account, Rest, rests, socket
from tests.acceptance.replicas import ReplicaProcess, Replicas

ONE_IN = int(os.environ.get("CHATAPP_TEST_CORPUS_ONE_IN", "6"))
"""The share of each language's conversations."""

pytestmark = [pytest.mark.alone, pytest.mark.timeout(1200 // ONE_IN + 60)]

CIRCLES = 24
"""Groups of three people who hold their share of the conversations, all circles at the same time."""
AT_ONCE = 2
"""Conversations that one circle holds at the same time."""
OVER_REST = 7
"""Every seventh line is sent over REST."""
SETTLE_S = 60.0


class Conversation(Struct, frozen=True):
    """``speakers``: how many take turns."""

    language: str
    lines: tuple[str, ...]
    speakers: int


def conversations() -> Iterator[Conversation]:
    """Our share of the corpus, also of files that are odd elsewhere."""
    spec = find_spec("chatterbot_corpus")
    assert spec is not None
    assert spec.origin is not None
    number: Counter[str] = Counter()
    for path in sorted((Path(spec.origin).parent / "data").glob("*/*.yml")):
        content = yaml.load(path.read_bytes(), Loader=yaml.CSafeLoader)
        for lines in content.get("conversations") or () if isinstance(content, dict) else ():
            if isinstance(lines, list) and all(isinstance(line, str) for line in lines):
                if number[path.parent.name] % ONE_IN == 0:
                    yield Conversation(path.parent.name, tuple(lines), 3 if len(lines) % 3 == 0 else 2)
                number[path.parent.name] += 1


class Person:
    """Somebody at one replica: one socket, and all that was heard on it, by chat."""

    def __init__(self, account: Account, rest: Rest, connection: ClientConnection) -> None:
        self.account = account
        self.rest = rest
        self._connection = connection
        self._heard: dict[int, list[dict[str, Any]]] = {}
        self._answers: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._news = asyncio.Condition()

    async def listen(self) -> None:
        """Take everything, until cancelled."""
        async for text in self._connection:
            event = json.loads(text)
            if event["type"] in ("ack", "error"):
                answer = self._answers.pop(event["id"])
                if not answer.done():
                    answer.set_result(event)
            elif event["type"] == "message":
                self._heard.setdefault(event["payload"]["chat_id"], []).append(event["payload"])
                async with self._news:
                    self._news.notify_all()

    async def say(self, chat_id: int, content: str, nonce: str) -> dict[str, Any]:
        """Over the socket; the answer is an ``ack`` or an ``error``."""
        answer = self._answers[nonce] = asyncio.get_running_loop().create_future()
        payload = {"chat_id": chat_id, "content": content, "nonce": nonce}
        await self._connection.send(json.dumps({"type": "message", "payload": payload, "id": nonce}))
        async with asyncio.timeout(ANSWER_S):
            answered: dict[str, Any] = await answer
        return answered

    async def heard(self, chat_id: int, count: int) -> Sequence[dict[str, Any]]:
        """The messages of this chat, once there are so many."""
        async with asyncio.timeout(SETTLE_S), self._news:
            await self._news.wait_for(lambda: len(self._heard.get(chat_id, ())) >= count)
        return self._heard[chat_id]


class Tally:
    """What was covered."""

    def __init__(self) -> None:
        self.conversations: Counter[str] = Counter()
        self.lines = 0
        self.deliveries = 0
        self.refused = 0


async def hold(number: int, conversation: Conversation, circle: Sequence[Person], tally: Tally) -> None:
    """One conversation: said, heard by everyone (its speakers too), and read again."""
    people = [circle[(number + turn) % len(circle)] for turn in range(conversation.speakers)]
    accounts = [person.account for person in people]
    chat_id = await people[0].rest.group(*accounts, name=f"{conversation.language} {number}")
    said: list[tuple[int, str, int]] = []
    for turn, line in enumerate(conversation.lines):
        speaker = people[turn % len(people)]
        over_rest = (number + turn) % OVER_REST == 0
        seq = await say(speaker, chat_id, line, f"{number}.{turn}", over_rest=over_rest)
        if line.strip():
            assert seq is not None
            said.append((seq, line, speaker.account.user_id))
        else:
            assert seq is None
            tally.refused += 1
    for person in people:
        heard = await person.heard(chat_id, len(said))
        assert [(m["seq"], m["content"], m["sender_id"]) for m in heard] == said
        tally.deliveries += len(heard)
    # Whoever did not begin reads it, so both replicas are asked about as often.
    reader = people[-1]
    stored = [m for m in await reader.rest.history(reader.account, chat_id, page=20) if m["kind"] == "text"]
    assert [(m["seq"], m["content"], m["sender_id"]) for m in stored] == said
    tally.conversations[conversation.language] += 1
    tally.lines += len(said)


async def say(speaker: Person, chat_id: int, line: str, nonce: str, *, over_rest: bool) -> int | None:
    """The line's place in the order, None when it was refused."""
    if over_rest:
        body = {"chat_id": chat_id, "content": line}
        headers = {"Idempotency-Key": nonce}
        response = await speaker.rest.ask("POST", "/messages", speaker.account, json=body, headers=headers)
        assert response.status_code in (201, 400), response.text
        return int(response.json()["seq"]) if response.status_code == 201 else None
    answer = await speaker.say(chat_id, line, nonce)
    assert answer["type"] == "ack" or answer["payload"]["code"] == "validation_failed", answer
    return int(answer["payload"]["seq"]) if answer["type"] == "ack" else None


async def hold_all(share: Iterable[tuple[int, Conversation]], circle: Sequence[Person], tally: Tally) -> None:
    """A circle's share, some at a time."""
    waiting = iter(share)

    async def work() -> None:
        for number, conversation in waiting:
            await hold(number, conversation, circle, tally)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(work())


@asynccontextmanager
async def circles(count: int, *at: ReplicaProcess) -> AsyncIterator[list[list[Person]]]:
    """So many circles of three, of whom neighbours sit at different replicas."""
    async with AsyncExitStack() as opened, asyncio.TaskGroup() as listeners:
        made: list[list[Person]] = []
        tasks: list[asyncio.Task[None]] = []
        for first in range(count):
            clients = await opened.enter_async_context(rests(*at))
            made.append([])
            for place in range(3):
                where = (first + place) % len(at)
                account = await clients[where].register()
                connected = await opened.enter_async_context(socket(at[where], account))
                made[-1].append(Person(account, clients[where], connected.connection))
                tasks.append(listeners.create_task(made[-1][-1].listen()))
        yield made
        for task in tasks:
            task.cancel()


async def test_every_conversation_is_heard_and_read_as_it_was_said(site: Replicas) -> None:
    one, other = site.start(2, CHATAPP_LIMITS__ROOMS_PER_CONNECTION="10000")
    corpus = list(enumerate(conversations()))
    tally = Tally()
    async with circles(CIRCLES, one, other) as made, asyncio.TaskGroup() as talks:
        for number, circle in enumerate(made):
            talks.create_task(hold_all(corpus[number::CIRCLES], circle, tally))
    covered = sum(tally.conversations.values())
    print(
        f"{covered} conversations in {len(tally.conversations)} languages, {tally.lines} lines, "
        f"{tally.deliveries} deliveries, {tally.refused} blank lines refused"
    )
    assert covered == len(corpus) > 7_500 / ONE_IN
    assert len(tally.conversations) >= 28
    assert tally.lines > 19_000 / ONE_IN
    assert tally.deliveries > 2 * tally.lines


async def test_blank_lines_are_refused_over_both_ways(site: Replicas) -> None:
    (replica,) = site.all[:1] or site.start(1)
    async with circles(1, replica) as ((person, *_),):
        chat_id = await person.rest.group(person.account)
        for over_rest in (False, True):
            for number, line in enumerate(("", " ", "\n\t", "\u00a0\u3000")):
                nonce = f"blank {number}".replace(" ", "-")
                assert await say(person, chat_id, line, nonce, over_rest=over_rest) is None, repr(line)
