"""Who is there and what they do: some tens of clients that write, edit and delete in about ten chats."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections import deque
from typing import Self

from msgspec import Struct

from chatapp.protocol.ids import ChatId, Seq, UserId
from tests.chaos.client import Client
from tests.chaos.cluster import Cluster
from tests.chaos.history import ClientHistory, MembershipChanged
from tests.chaos.js import JsClient
from tests.chaos.rest import Rest
from tests.chaos.sdk import SdkClient
from tests.chaos.sender import Sent

_KEPT = 20
_EDIT_SHARE = 0.08
_DELETE_SHARE = 0.04
_FLAVOURS = ("plain", 'with "quotes" and \\ and \n a line', "žluťoučký kůň 🐎 שלום", "<b>&amp;</b>", "x" * 700)
_REGISTER_AT_ONCE = 4
_REGISTER_S = 60.0
"""For one: an attempt that is given up may have taken the name."""
_FLOOD_BYTES = 2_000_000
_BIG_BYTES = 12_000
_LIVE_ONLY_EVERY = 4


AnyClient = Client | SdkClient | JsClient


class Size(Struct, frozen=True):
    """How much happens."""

    clients: int = 24
    sdk_clients: int = 0
    """So many of them are the product's own client in Python instead of the one that is written for this."""
    js_clients: int = 0
    """So many are ``chatapp.js``."""
    chats: int = 10
    chats_per_client: int = 4
    sends_per_s: float = 60.0
    """By all clients together."""
    messages_limit: int = 50_000
    """After so many nobody writes any more, whatever the time: the records are kept in memory."""


class Crowd:
    """The clients of a run, and their work. The operator is admin of every chat and only adds and removes."""

    def __init__(self, cluster: Cluster, size: Size, rng: random.Random) -> None:
        self.clients: list[AnyClient] = []
        self.membership: list[MembershipChanged] = []
        self.size = size
        self.sent = 0
        self._cluster = cluster
        self._rng = rng
        self._operator = Rest(cluster.gateways, rng)
        self._operator_token = ""
        self._kept: dict[str, deque[Sent]] = {}
        self._running: list[asyncio.Task[None]] = []
        self._writing: list[asyncio.Task[None]] = []
        self._numbers = itertools.count(1)
        self._flapping = asyncio.Lock()
        self._stopped = asyncio.Event()
        self._twins: list[ClientHistory] = []

    async def __aenter__(self) -> Self:
        """Register everybody, make the chats, and connect."""
        prefix = f"u{self._rng.randrange(10**6)}"
        registrar = Rest(self._cluster.gateways, self._rng, _REGISTER_S)
        operator = await registrar.register(f"{prefix}-operator")
        self._operator_token = operator.token
        gate = asyncio.Semaphore(_REGISTER_AT_ONCE)

        async def register(number: int) -> tuple[UserId, str]:
            async with gate:
                registered = await registrar.register(f"{prefix}-{number}")
            return registered.user.id, registered.token

        users = await asyncio.gather(*(register(number) for number in range(self.size.clients)))
        await registrar.close()
        members = self._who_is_where([user_id for user_id, _ in users])
        chats: dict[UserId, list[ChatId]] = {user_id: [] for user_id, _ in users}
        for number, of_chat in enumerate(members):
            chat = await self._operator.make_chat(operator.token, f"chat {number}", of_chat)
            for user_id in of_chat:
                chats[user_id].append(chat.id)
                self.membership.append(MembershipChanged(chat.id, user_id, True, Seq(-1), Seq(0)))
        for number, (user_id, token) in enumerate(users):
            seed = self._rng.randrange(2**32)
            client = self._client(number, user_id, token, chats[user_id], seed)
            self.clients.append(client)
            self._kept[client.history.client] = deque(maxlen=_KEPT)
            self._running.append(asyncio.create_task(client.run()))
        return self

    async def __aexit__(self, *_: object) -> None:
        """End everybody."""
        tasks = [*self._writing, *self._running]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._operator.close()

    def begin(self) -> None:
        """Everybody writes from now on."""
        self._writing = [
            asyncio.create_task(self._write(client, random.Random(self._rng.randrange(2**32))))
            for client in self.clients
        ]

    async def stop(self, patience_s: float) -> None:
        """Nobody begins anything new; what is under way has so long to be answered."""
        self._stopped.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await asyncio.gather(*self._writing, return_exceptions=True)

    @property
    def histories(self) -> list[ClientHistory]:
        """Of all clients, those of second devices too."""
        return [*(client.history for client in self.clients), *self._twins]

    def failures(self) -> list[BaseException]:
        """What ended a client's task: nothing should."""
        ended = (task for task in (*self._running, *self._writing) if task.done() and not task.cancelled())
        return [error for task in ended if (error := task.exception()) is not None]

    def twin_of(self, client: AnyClient) -> Client:
        """A second device of the same user, that follows nothing; run it."""
        number = next(self._numbers)
        name = f"{client.history.client}-twin-{number}"
        twin = Client(name, client.history.user_id, client.token, self._cluster.gateways, [], number)
        self._twins.append(twin.history)
        return twin

    def content(self, rng: random.Random) -> str:
        """A content that no other message has."""
        return f"{next(self._numbers)} {rng.choice(_FLAVOURS)}"

    async def send(self, client: AnyClient, rng: random.Random) -> None:
        """One message into one of the client's chats, to its end."""
        self.sent += 1
        outcome = await client.sender.send(rng.choice(list(client.follower.chats)), self.content(rng))
        if isinstance(outcome, Sent):
            self._kept[client.history.client].append(outcome)

    async def flood(self, rng: random.Random) -> None:
        """Two megabytes into one chat, from up to eight of its members at once."""
        chat_id = rng.choice([chat_id for client in self.clients for chat_id in client.follower.chats])
        members = [client for client in self.clients if chat_id in client.follower.chats][:8]

        async def pour(client: AnyClient) -> None:
            for _ in range(_FLOOD_BYTES // _BIG_BYTES // len(members)):
                self.sent += 1
                await client.sender.send(chat_id, f"{next(self._numbers)} {'x' * _BIG_BYTES}")

        await asyncio.gather(*(pour(client) for client in members))

    async def change(self, client: AnyClient, rng: random.Random) -> None:
        """Edit or delete one of the client's own messages, where it has any."""
        kept = self._kept[client.history.client]
        if not kept:
            return
        victim = rng.choice(kept)
        if rng.random() < _DELETE_SHARE / (_EDIT_SHARE + _DELETE_SHARE):
            kept.remove(victim)
            await client.sender.change(victim.chat_id, victim.message_id, None)
        else:
            await client.sender.change(victim.chat_id, victim.message_id, self.content(rng))

    async def remove_and_add(self, rng: random.Random, absence_s: float) -> None:
        """Somebody is removed from a chat, and added again after a while."""
        async with self._flapping:
            client = rng.choice(self.clients)
            chat_id = rng.choice(list(client.follower.chats))
            user_id = client.history.user_id
            before = await self._cluster.last_seq(chat_id)
            await self._operator.remove_member(self._operator_token, chat_id, user_id)
            removed = await self._cluster.last_seq(chat_id)
            self.membership.append(MembershipChanged(chat_id, user_id, False, before, removed))
            await asyncio.sleep(absence_s)
            before = await self._cluster.last_seq(chat_id)
            await self._operator.add_member(self._operator_token, chat_id, user_id)
            added = await self._cluster.last_seq(chat_id)
            self.membership.append(MembershipChanged(chat_id, user_id, True, before, added))

    async def _write(self, client: AnyClient, rng: random.Random) -> None:
        pace_s = self.size.clients / self.size.sends_per_s
        while self.sent < self.size.messages_limit:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(rng.expovariate(1 / pace_s)):
                    await self._stopped.wait()
                return
            if rng.random() < _EDIT_SHARE + _DELETE_SHARE:
                await self.change(client, rng)
            else:
                await self.send(client, rng)

    def _client(self, number: int, user_id: UserId, token: str, chats: list[ChatId], seed: int) -> AnyClient:
        gateways = self._cluster.gateways
        if number >= self.size.clients - self.size.js_clients:
            return JsClient(f"c{number} (js)", user_id, token, gateways, chats, seed)
        if number >= self.size.clients - self.size.js_clients - self.size.sdk_clients:
            return SdkClient(f"c{number} (sdk)", user_id, token, gateways, chats, seed)
        live_only = number % _LIVE_ONLY_EVERY == 0
        name = f"c{number}{' (live)' if live_only else ''}"
        return Client(name, user_id, token, gateways, chats, seed, live_only=live_only)

    def _who_is_where(self, users: list[UserId]) -> list[list[UserId]]:
        members: list[list[UserId]] = [[] for _ in range(self.size.chats)]
        for user_id in users:
            for chat in self._rng.sample(range(self.size.chats), min(self.size.chats_per_client, self.size.chats)):
                members[chat].append(user_id)
        for of_chat in members:
            if not of_chat:
                of_chat.append(self._rng.choice(users))
        return members
