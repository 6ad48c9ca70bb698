"""Those who mean harm: over TCP by hand, each attack bounded in time, from addresses of their own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import httpx
from msgspec import Struct

from tests.acceptance.raw import PING, TEXT, Wire, handshake, masked, request
from tests.soak.account import Account, address, make_chat, register, rest

_ATTACK_S = 30.0
_PAUSE_S = 0.5
_AT_ONCE = 3
_SMALL_BUFFER_BYTES = 4096
LOGINS = 50
"""Of one flood, all at once."""


class Prey(Struct, frozen=True):
    """What an attacker has: a port, an account, and a chat that two accounts are in."""

    port: int
    account: Account
    friend: Account
    chat_id: int
    rng: random.Random
    statuses: Counter[str]
    """What HTTP answered."""


Attack = Callable[[Prey], Awaitable[None]]


class Hostile:
    """``run`` is its task. ``done`` counts attacks by name."""

    def __init__(self, ports: Sequence[int], rng: random.Random, attacks: Sequence[Attack]) -> None:
        self.done: Counter[str] = Counter()
        self.statuses: Counter[str] = Counter()
        self._ports = ports
        self._rng = rng
        self._attacks = attacks

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            for number in range(_AT_ONCE):
                group.create_task(self._one(number))

    async def _one(self, number: int) -> None:
        async with rest(self._ports[0]) as client:
            prefix = f"evil{number}x{self._rng.randrange(10**6)}"
            account, friend = [await register(client, f"{prefix}{which}", self._rng) for which in "ab"]
            chat_id = await make_chat(client, account, friend)
        deck: list[Attack] = []
        while True:
            if not deck:
                deck = self._rng.sample(self._attacks, k=len(self._attacks))
            attack = deck.pop()
            prey = Prey(self._rng.choice(self._ports), account, friend, chat_id, self._rng, self.statuses)
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, httpx.HTTPError):
                async with asyncio.timeout(_ATTACK_S):
                    await attack(prey)
            self.done[attack.__name__] += 1
            await asyncio.sleep(self._rng.uniform(0.5, 1.5) * _PAUSE_S)


@asynccontextmanager
async def tcp(port: int, buffer_bytes: int = 0) -> AsyncIterator[Wire]:
    """A connection, cut off in the end. ``buffer_bytes``: of the receiving side, so that not reading is soon felt."""
    with contextlib.ExitStack() as opened:
        raw = opened.enter_context(socket.socket())
        raw.setblocking(False)
        if buffer_bytes:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port))
        opened.pop_all()
    reader, writer = await asyncio.open_connection(sock=raw, limit=buffer_bytes or 1 << 16)
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()


@asynccontextmanager
async def upgraded(prey: Prey, buffer_bytes: int = 0, account: Account | None = None) -> AsyncIterator[Wire]:
    """A WebSocket of the attacker's; raises ``OSError`` where the handshake is refused."""
    who = account or prey.account
    async with tcp(prey.port, buffer_bytes) as wire:
        await wire.write(handshake(who.token, f"X-Forwarded-For: {who.address}"))
        status = (await wire.answer()).status
        prey.statuses[f"upgrade {status}"] += 1
        if status != 101:
            raise ConnectionRefusedError(status)
        yield wire


async def slow_reader(prey: Prey) -> None:
    """One who never reads, in a chat that is filled at full speed."""
    async with upgraded(prey, _SMALL_BUFFER_BYTES, prey.friend), rest(prey.port) as client:

        async def pour() -> None:
            for _ in range(100):
                body = {"chat_id": prey.chat_id, "content": "x" * 16000}
                answer = await client.post("/messages", json=body, headers=prey.account.headers)
                prey.statuses[str(answer.status_code)] += 1

        # More than the kernel buffers of a loopback connection take (4 MiB) and limits.backlog_bytes together.
        await asyncio.gather(*(pour() for _ in range(4)))


async def ping_flood(prey: Prey) -> None:
    """Pings by the thousand, whose pongs nobody reads."""
    async with upgraded(prey, _SMALL_BUFFER_BYTES) as wire:
        pings = b"".join(masked(os.urandom(125), PING) for _ in range(200))
        for _ in range(20):
            await wire.write(pings)
            await asyncio.sleep(0.02)


async def fragments(prey: Prey) -> None:
    """A message that never ends, in empty pieces."""
    async with upgraded(prey) as wire:
        await wire.write(masked(b"", 0x01))
        empty = masked(b"", 0x00) * 500
        for _ in range(20):
            await wire.write(empty)
            await asyncio.sleep(0.02)


async def garbage_frames(prey: Prey) -> None:
    """Bytes by chance, after an upgrade in good order."""
    for _ in range(5):
        async with upgraded(prey) as wire:
            await wire.write(prey.rng.randbytes(prey.rng.randrange(2, 4000)))
            await wire.is_closed(1.0)


async def garbage_commands(prey: Prey) -> None:
    """Frames in good order, commands that are none, without a pause."""
    async with upgraded(prey) as wire:
        broken = (b"{", b"[]", b'{"type": "message"}', b'{"type": "message", "payload": {"chat_id": -1}}', b"\xff\xfe")
        for _ in range(60):
            await wire.write(b"".join(masked(prey.rng.choice(broken), TEXT) for _ in range(20)))
        await wire.is_closed(2.0)


async def half_handshakes(prey: Prey) -> None:
    """Twenty that begin a handshake and never finish it."""
    async with contextlib.AsyncExitStack() as opened:
        whole = handshake(prey.account.token)
        for _ in range(20):
            wire = await opened.enter_async_context(tcp(prey.port))
            await wire.write(whole[: prey.rng.randrange(1, len(whole) - 1)])
        await asyncio.sleep(5)


async def many_sockets(prey: Prey) -> None:
    """More sockets of one user than one may have."""
    async with contextlib.AsyncExitStack() as opened:
        for _ in range(30):
            with contextlib.suppress(ConnectionRefusedError):
                await opened.enter_async_context(upgraded(prey))
        await asyncio.sleep(1)


async def huge_bodies(prey: Prey) -> None:
    """Bodies over the limit, announced or not."""
    head = request("POST", "/api/v1/auth/login", b"", "Content-Type: application/json", "Transfer-Encoding: chunked")
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    for data in (request("POST", "/api/v1/auth/login", b"x" * (2 << 20)), head + chunk * 40):
        async with tcp(prey.port) as wire:
            await wire.write(data)
            prey.statuses[str((await wire.answer()).status)] += 1


async def wrong_tokens(prey: Prey) -> None:
    """Tokens that are none, and one with a letter changed, over REST and at the socket."""
    token = prey.account.token
    at = prey.rng.randrange(10, len(token))
    for wrong in (
        "x",
        "v4.local.AAAA",
        token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :],
        "v4.public." + "x" * 50,
    ):
        for _ in range(10):
            for data in (request("GET", "/api/v1/auth/me", token=wrong), handshake(wrong)):
                async with tcp(prey.port) as wire:
                    await wire.write(data)
                    prey.statuses[str((await wire.answer()).status)] += 1


async def broken_http(prey: Prey) -> None:
    """What is no HTTP, or smuggles."""
    for data in (
        os.urandom(500),
        b"\x16\x03\x01\x02\x00\x01\x00" + b"\0" * 500,
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 5000 + b"\r\n",
        request("POST", "/", b"5\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n", "Transfer-Encoding: chunked"),
        b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    ):
        async with tcp(prey.port) as wire:
            await wire.write(data)
            prey.statuses[str((await wire.answer(5.0)).status)] += 1


async def login_flood(prey: Prey) -> None:
    """Fifty logins at once, each from an address of its own, with a wrong password."""
    async with rest(prey.port) as client:

        async def guess() -> None:
            body = {"username": f"nobody{prey.rng.randrange(10**9)}", "password": "wrong password"}
            from_ = {"X-Forwarded-For": address(prey.rng)}
            prey.statuses[str((await client.post("/auth/login", json=body, headers=from_)).status_code)] += 1

        await asyncio.gather(*(guess() for _ in range(LOGINS)))


ATTACKS: tuple[Attack, ...] = (
    slow_reader,
    ping_flood,
    fragments,
    garbage_frames,
    garbage_commands,
    half_handshakes,
    many_sockets,
    huge_bodies,
    wrong_tokens,
    broken_http,
    login_flood,
)
