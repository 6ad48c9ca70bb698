"""``chatapp demo``: what it prints works, and nothing of it is left."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from chatapp.client import Client, MessageSent, Session
from chatapp.demo.story import load_story
from tests.acceptance.replicas import CHATAPP, bare_environment, wait_until
from tests.ports import free_port

pytestmark = [pytest.mark.alone, pytest.mark.timeout(240)]

START_S = 90.0
STOP_S = 60.0
ANSWER_S = 60.0


class Demo:
    """A start of it, without a terminal, in an environment whose settings it must not use."""

    def __init__(self, directory: Path) -> None:
        self.temporary = directory / "tmp"
        self.temporary.mkdir()
        self.links = directory / "links"
        self.said = directory / "said"
        with self.links.open("wb") as links, self.said.open("wb") as said:
            self.process = subprocess.Popen(
                [CHATAPP, "demo", "--json", "--ports", str(free_port()), str(free_port())],
                cwd=directory,
                env={
                    **bare_environment(),
                    "TMPDIR": str(self.temporary),
                    "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing",
                    "CHATAPP_NO__SUCH": "key",
                },
                stdin=subprocess.DEVNULL,
                stdout=links,
                stderr=said,
                start_new_session=True,
            )

    def shown(self) -> Any:
        """What it prints once all is there."""
        wait_until(lambda: self.links.stat().st_size > 0 or self.process.poll() is not None, START_S, self.said)
        assert self.process.poll() is None, self.said.read_text()
        return json.loads(self.links.read_text())

    def end(self) -> int:
        """As Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(STOP_S)


@contextmanager
def demo(directory: Path) -> Iterator[Demo]:
    made = Demo(directory)
    try:
        yield made
    finally:
        if made.process.poll() is None:
            made.end()


async def test_two_links_with_a_history_a_bot_that_answers_at_either_and_a_replica_that_comes_back(
    tmp_path: Path,
) -> None:
    with demo(tmp_path) as running:
        shown = running.shown()
        first, second = shown["links"]
        assert first["url"] != second["url"]
        async with httpx.AsyncClient(trust_env=False) as http:
            for link in (first, second):
                page = await http.get(link["url"])
                assert page.status_code == 200
                assert page.headers["content-type"].startswith("text/html")
        for link in (first, second):
            await _chat_with_the_bot(link, shown["bot"])
        os.kill(first["pid"], signal.SIGKILL)
        wait_until(lambda: "is back" in running.said.read_text(), START_S, running.said)
        await _chat_with_the_bot(first, shown["bot"])
        assert running.end() == 0
    assert list(running.temporary.iterdir()) == []
    with pytest.raises(ProcessLookupError):
        os.kill(second["pid"], 0)
    assert "Traceback" not in running.said.read_text()


async def _chat_with_the_bot(link: dict[str, Any], bot: str) -> None:
    async with Client(link["url"].rstrip("/"), trust_env=False) as client:
        await client.login(link["username"], link["password"])
        chats = {chat.name: chat async for chat in client.chats.all()}
        walk = next(talk for talk in load_story().talks if talk.name == "Sunday walk")
        rows = [message async for message in client.messages.all(chats["Sunday walk"].id)]
        assert [row.content for row in rows if row.kind == "text"][: len(walk.lines)] == [x.text for x in walk.lines]
        async with asyncio.timeout(ANSWER_S), client.session() as session:
            heard = _texts(session)
            await session.send(chats["Sunday walk"].id, f"{bot}, what time is it?")
            assert (await anext(heard)).startswith(f"{bot}, what")
            assert (await anext(heard)).startswith("It is ")
            (robin,) = await client.users.page(q=bot)
            await session.send((await client.chats.direct(robin.id)).id, "help")
            async for text in heard:  # the first time it greets, too
                if text.startswith("I know the time"):
                    break


async def _texts(session: Session) -> AsyncIterator[str]:
    async for event in session:
        if isinstance(event, MessageSent):
            yield event.payload.content
