"""Lines of standard input, terminal, pipe or file alike."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import TextIO

_AHEAD = 100
_LINE_CHARACTERS = 1_000_000


async def typed_lines(source: TextIO) -> AsyncIterator[str]:
    """The lines without their ends, until the input ends. A thread reads them: files and terminals have no other way.

    It reads at most ``_AHEAD`` lines ahead, and does not keep the process alive.
    """
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[str] = asyncio.Queue(_AHEAD)

    def read() -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody reads any more
            while True:
                try:
                    line = source.readline(_LINE_CHARACTERS)
                except (OSError, ValueError):
                    line = ""
                asyncio.run_coroutine_threadsafe(lines.put(line), loop).result()
                if not line:
                    return

    threading.Thread(target=read, name="keyboard", daemon=True).start()
    while line := await lines.get():
        yield line.rstrip("\r\n")
