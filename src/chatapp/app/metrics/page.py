"""What ``/metrics`` answers: the metrics of all workers of this host, whichever of them was asked.

The workers share a listening socket, so a scrape reaches one of them at random. Each also listens on a Unix socket in
a directory that only this user can enter; whoever is asked asks the others there, and joins what they say. Nothing is
written down, so nothing of a worker that died is left to be told: its series end, and begin at zero, under the same
``worker`` label, when another takes its place. That is what Prometheus' ``rate`` expects of a restart.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from msgspec import Struct

from chatapp.app.metrics.family import gauge
from chatapp.app.metrics.text import joined, render

_log = logging.getLogger(__name__)

WORKERS = gauge("workers", "Workers of this host that are meant to run: --workers, or general.workers.")
WORKER_UP = gauge(
    "worker_up",
    "1 if the worker's metrics are in this answer, 0 if it did not answer within a second.",
    "It died and is being started again, or its event loop is stuck: look at the log.",
    "worker",
)
FAMILIES = (WORKERS, WORKER_UP)

ASK_S = 1.0
"""How long a sibling may take to answer."""
_END = b"# EOF\n"


class Crew(Struct, frozen=True):
    """A worker's place among those of its host."""

    worker: int = 0
    workers: int = 1
    directory: str = ""
    """Where they talk to each other; empty when they cannot, and then each answers for itself."""

    def socket_of(self, worker: int) -> str:
        """The path on which this one listens. It keeps it over its restarts."""
        return str(Path(self.directory) / f"{worker}.metrics")


class MetricsPage:
    """One for each replica. ``render`` gives this replica's own metrics in Prometheus' text format."""

    def __init__(self, crew: Crew, render: Callable[[], bytes]) -> None:
        self._crew = crew
        self._render = render

    async def text(self) -> bytes:
        """For all workers. Those that do not answer in time are left out, and said to be."""
        crew = self._crew
        others = [worker for worker in range(crew.workers) if worker != crew.worker] if crew.directory else []
        told = dict(zip(others, await asyncio.gather(*map(self._ask, others)), strict=True))
        texts = {crew.worker: self._render()} | {worker: text for worker, text in told.items() if text}
        up = WORKER_UP.by((worker, worker in texts) for worker in sorted({crew.worker, *others}))
        return joined([*(texts[worker] for worker in sorted(texts)), render([WORKERS.of(crew.workers), up], None)])

    @asynccontextmanager
    async def told_to_siblings(self) -> AsyncIterator[None]:
        """Answer the other workers within this block."""
        if not self._crew.directory:
            yield
            return
        path = Path(self._crew.socket_of(self._crew.worker))
        _vacate(path)  # of the worker that had this place before
        server = await asyncio.start_unix_server(self._answer, path)
        try:
            yield
        finally:
            server.close()
            _vacate(path)

    async def _answer(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(ASK_S):
                writer.write(self._render() + _END)
                await writer.drain()
        writer.close()

    async def _ask(self, worker: int) -> bytes:
        """What this sibling says; nothing if it does not."""
        try:
            async with asyncio.timeout(ASK_S):
                reader, writer = await asyncio.open_unix_connection(self._crew.socket_of(worker))
                try:
                    text = await reader.read()
                finally:
                    writer.close()
                if text.endswith(_END):  # else it died while it spoke
                    return text.removesuffix(_END)
        except (OSError, TimeoutError):
            pass
        _log.info("worker %d did not tell its metrics", worker)
        return b""


def _vacate(path: Path) -> None:
    path.unlink(missing_ok=True)
