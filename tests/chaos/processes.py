"""A server process of the run: started, broken and healed by name, and ended whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

_KILL_TIMEOUT_S = 5.0


class ServerProcess:
    """One program in a process group of its own, with its output in a file.

    ``lock`` is held by whoever breaks it, so that two faults do not heal each other.
    """

    def __init__(self, name: str, argv: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self.log = log
        self.lock = asyncio.Lock()
        self._argv = tuple(argv)
        self._environment = dict(environment)
        self._process: asyncio.subprocess.Process | None = None

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        """Of its running process."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start it; it is for the caller to wait until it answers."""
        assert not self.running
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                cwd=self.log.parent,
                start_new_session=True,
            )

    def send(self, number: signal.Signals) -> None:
        """A signal to the process and all its children. Nothing where it has ended."""
        if self._process is not None and self.running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    async def end(self, number: signal.Signals, patience_s: float) -> bool:
        """Signal it and wait for its end; killed when it takes longer, and then False."""
        if self._process is None:
            return True
        self.send(number)
        try:
            async with asyncio.timeout(patience_s):
                await self._process.wait()
        except TimeoutError:
            await self.kill()
            return False
        return True

    async def kill(self) -> None:
        """SIGKILL, whatever state it is in."""
        if self._process is None:
            return
        self.send(signal.SIGKILL)
        async with asyncio.timeout(_KILL_TIMEOUT_S):
            await self._process.wait()

    def tail(self, lines: int = 30) -> str:
        """The end of its output."""
        with contextlib.suppress(OSError):
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        return ""
