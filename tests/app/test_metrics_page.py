from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from chatapp.app.metrics.family import counter
from chatapp.app.metrics.page import Crew, MetricsPage
from chatapp.app.metrics.text import render

SENT = counter("sent", "Sent.")


@pytest.fixture
def meeting_place() -> Iterator[str]:
    """Short, for a Unix socket's path is."""
    with TemporaryDirectory(prefix="chatapp-test-", dir="/tmp") as directory:
        yield directory


def worker(at: int, directory: str, sent: float, workers: int = 3) -> MetricsPage:
    return MetricsPage(Crew(at, workers, directory), lambda: render([SENT.of(sent)], at))


def of(text: bytes, name: str) -> dict[str, float]:
    """The values of a metric, by worker."""
    lines = [line.split() for line in text.decode().splitlines() if line.startswith(name + "{")]
    return {series.split('"')[1]: float(value) for series, value in lines}


@asynccontextmanager
async def serving(*pages: MetricsPage) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for page in pages:
            await stack.enter_async_context(page.told_to_siblings())
        yield


async def test_whoever_is_asked_answers_for_all(meeting_place: str) -> None:
    pages = [worker(at, meeting_place, 10.0 * at) for at in range(3)]
    async with serving(*pages):
        texts = [await page.text() for page in pages]
    assert texts[0] == texts[1] == texts[2]
    assert of(texts[0], "chatapp_sent_total") == {"0": 0, "1": 10, "2": 20}
    assert of(texts[0], "chatapp_worker_up") == {"0": 1, "1": 1, "2": 1}
    assert b"\nchatapp_workers 3\n" in texts[0]


async def test_a_worker_that_is_gone_is_left_out_until_another_takes_its_place(meeting_place: str) -> None:
    one = worker(0, meeting_place, 5, workers=2)
    async with serving(one):
        async with serving(worker(1, meeting_place, 900, workers=2)):
            assert of(await one.text(), "chatapp_sent_total") == {"0": 5, "1": 900}
        left = await one.text()
        assert of(left, "chatapp_sent_total") == {"0": 5}
        assert of(left, "chatapp_worker_up") == {"0": 1, "1": 0}
        Path(meeting_place, "1.metrics").touch()  # as after kill -9
        async with serving(worker(1, meeting_place, 1, workers=2)):
            assert of(await one.text(), "chatapp_sent_total") == {"0": 5, "1": 1}


async def test_half_an_answer_counts_as_none(meeting_place: str) -> None:
    async def die_while_speaking(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(render([SENT.of(77)], 1)[:-3])
        writer.close()

    one = worker(0, meeting_place, 5, workers=2)
    async with await asyncio.start_unix_server(die_while_speaking, Crew(1, 2, meeting_place).socket_of(1)):
        assert of(await one.text(), "chatapp_sent_total") == {"0": 5}


async def test_a_stuck_worker_holds_up_nobody_for_long(meeting_place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    monkeypatch.setattr("chatapp.app.metrics.page.ASK_S", 0.1)
    one = worker(0, meeting_place, 5, workers=2)
    async with await asyncio.start_unix_server(say_nothing, Crew(1, 2, meeting_place).socket_of(1)):
        text = await asyncio.wait_for(one.text(), 5)
    assert of(text, "chatapp_worker_up") == {"0": 1, "1": 0}


async def test_a_worker_without_siblings_needs_no_directory() -> None:
    alone = MetricsPage(Crew(), lambda: render([SENT.of(1)], 0))
    async with serving(alone):
        text = await alone.text()
    assert of(text, "chatapp_sent_total") == {"0": 1}
    assert of(text, "chatapp_worker_up") == {"0": 1}
