"""A TCP proxy that can misbehave as networks do: links that are cut, go silent, stall, drip or answer late."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Iterator

from msgspec import Struct

_CHUNK_BYTES = 64 * 1024
_CONNECT_TIMEOUT_S = 2.0
_SILENCE_LIMIT_S = 30.0
_RECEIVE_BUFFER_BYTES = 64 * 1024
"""Of the connections to the replica: what is not read is soon the replica's to keep."""
_LINGER_RESET = struct.pack("ii", 1, 0)

_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Weather(Struct):
    """How a link behaves now. Changing it takes effect with the next bytes."""

    delay_s: float = 0.0
    """Waited before each piece is passed on, in either direction."""
    slice_bytes: int = _CHUNK_BYTES
    """Pieces are passed on in writes of at most this size."""


class Link:
    """One connection through the proxy."""

    def __init__(self, weather: Weather) -> None:
        self.weather = weather
        self._silent = False
        self._moving = asyncio.Event()
        self._moving.set()
        self._ends: list[asyncio.StreamWriter] = []

    def go_silent(self) -> None:
        """From now on everything is swallowed, FIN too: neither side learns that the other is gone."""
        self._silent = True

    def stall(self) -> None:
        """Read nothing more from either side: the senders' buffers fill up."""
        self._moving.clear()

    def resume(self) -> None:
        """End a stall."""
        self._moving.set()

    def reset(self) -> None:
        """Cut both sides with RST."""
        for end in self._ends:
            connected = end.get_extra_info("socket")
            if connected is not None:
                with contextlib.suppress(OSError):
                    connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
            end.transport.abort()

    async def carry(self, client: _Streams, server: _Streams) -> None:
        """Pass bytes on until both sides have ended, or the link has been silent for half a minute."""
        self._ends = [client[1], server[1]]
        pumps = asyncio.gather(
            self._pump(client[0], server[1]), self._pump(server[0], client[1]), return_exceptions=True
        )
        try:
            await pumps
        finally:
            pumps.cancel()
            for end in self._ends:
                end.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while piece := await source.read(_CHUNK_BYTES):
                await self._moving.wait()
                await self._pass_on(piece, target)
        if self._silent:
            await asyncio.sleep(_SILENCE_LIMIT_S)
        elif target.can_write_eof() and not target.is_closing():
            with contextlib.suppress(OSError):
                target.write_eof()

    async def _pass_on(self, piece: bytes, target: asyncio.StreamWriter) -> None:
        while piece:
            if self.weather.delay_s:
                await asyncio.sleep(self.weather.delay_s)
            if self._silent or target.is_closing():
                return
            now, piece = piece[: self.weather.slice_bytes], piece[self.weather.slice_bytes :]
            target.write(now)
            await target.drain()


class FaultProxy:
    """Listens on a port of its own in front of one replica. Ends all links when it is closed."""

    def __init__(self, upstream_port: int) -> None:
        self._upstream_port = upstream_port
        self._links: dict[Link, asyncio.Task[None] | None] = {}
        self._server: asyncio.Server | None = None
        self.weather = Weather()
        """Of new links; those that are there share it."""

    async def start(self) -> None:
        """Begin to listen on a free port of the loopback."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=_CHUNK_BYTES)

    @property
    def port(self) -> int:
        """Where clients connect to."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def links(self) -> Iterator[Link]:
        """Those that are there now, oldest first."""
        return iter(list(self._links))

    async def close(self) -> None:
        """Stop listening and end every link."""
        if self._server is not None:
            self._server.close()
        tasks = [task for task in self._links.values() if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = Link(self.weather)
        self._links[link] = asyncio.current_task()
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                server = await self._connect()
            await link.carry((reader, writer), server)
        except (OSError, TimeoutError):
            pass  # the replica is away: the client sees its connection end
        except asyncio.CancelledError:
            pass  # asked for by close(), the owner of this task
        finally:
            writer.transport.abort()
            del self._links[link]

    async def _connect(self) -> _Streams:
        upstream = socket.socket()
        try:
            upstream.setblocking(False)
            upstream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
            await asyncio.get_running_loop().sock_connect(upstream, ("127.0.0.1", self._upstream_port))
            return await asyncio.open_connection(sock=upstream, limit=_CHUNK_BYTES)
        except BaseException:
            upstream.close()
            raise
