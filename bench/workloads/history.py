"""A page of history, at the newest end of a chat and a million messages deep."""

from __future__ import annotations

import http.client
import time
from statistics import median

import msgspec
from msgspec import Struct

from bench.machine import pinned
from bench.results import Curve, Finding, Series, Target
from bench.rig import Rig, say
from bench.world import World

DEPTH = 1_000_000
PAGE = 50
_PAGES = 300


class _Message(Struct, frozen=True):
    seq: int


def run(rig: Rig, rounds: int) -> list[Finding | Curve]:
    """Medians of 300 pages each, in turns."""

    async def furnish(world: World) -> tuple[str, int]:
        (person,) = await world.people(1)
        (chat_id,) = await world.chats([[person]])
        await world.messages(chat_id, person, DEPTH)
        return person.token, chat_id

    say(f"  writing {DEPTH:,} messages")
    token, chat_id = rig.furnish(furnish)
    shallow: list[float] = []
    deep: list[float] = []
    with rig.replica() as server, pinned({rig.cores.generator}):
        reader = _Reader(server.port, chat_id, token)
        for before in (DEPTH + 1, PAGE + 1):
            reader.page(before)
        for at in range(rounds):
            took: tuple[list[float], list[float]] = ([], [])
            for _ in range(_PAGES):
                took[0].append(reader.page(DEPTH + 1))
                took[1].append(reader.page(PAGE + 1))
            shallow.append(median(took[0]))
            deep.append(median(took[1]))
            say(f"  {at + 1}/{rounds} newest {shallow[-1]:.0f} µs, deepest {deep[-1]:.0f} µs")
        reader.close()
    return [
        Finding(
            "history",
            f"A page of {PAGE} at depth {DEPTH:,} against the newest page, the slower over the faster",
            Series("times", "x", [max(a, b) / min(a, b) for a, b in zip(shallow, deep, strict=True)]),
            Target("at most", 1.1),
            [Series("newest page", "µs", shallow), Series("deepest page", "µs", deep)],
            "GET over one kept connection, with `before`.",
        )
    ]


class _Reader:
    """A client that pages."""

    def __init__(self, port: int, chat_id: int, token: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self._path = f"/api/v1/messages/chat/{chat_id}?limit={PAGE}"
        self._headers = {"Authorization": f"Bearer {token}"}

    def page(self, before: int) -> float:
        """Read the page before a ``seq``; returns how many microseconds it took."""
        began = time.perf_counter()
        self._connection.request("GET", f"{self._path}&before={before}", headers=self._headers)
        response = self._connection.getresponse()
        body = response.read()
        took = time.perf_counter() - began
        seqs = [message.seq for message in msgspec.json.decode(body, type=list[_Message])]
        assert seqs == list(range(before - 1, before - 1 - PAGE, -1)), (response.status, body[:200])
        return took * 1e6

    def close(self) -> None:
        """Let go of the connection."""
        self._connection.close()
