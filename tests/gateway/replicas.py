"""Replicas in this process, with real sockets on free ports, over one PostgreSQL and one Redis; and their clients."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from msgspec import Struct
from sqlalchemy import make_url
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from chatapp.api.sockets import Sockets
from chatapp.app.replica import Replica, build
from chatapp.auth.principal import Principal
from chatapp.config import load
from chatapp.gateway.wire import WireProtocol
from chatapp.protocol.codes import CloseCode
from chatapp.protocol.ids import ChatId, UserId
from chatapp.storage import migrate

TIMEOUT_S = 8.0
PASSWORD = "correct horse"
PROTOCOLS: dict[str, Any] = {"wire": WireProtocol, "asgi": "websockets-sansio"}

Event = dict[str, Any]


class Server(uvicorn.Server):
    """Leaves the signals to pytest."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serving(app: Any, ws: Any, **settings: Any) -> AsyncIterator[tuple[Server, int]]:
    """uvicorn on a free port."""
    config = uvicorn.Config(
        app,
        ws=ws,
        lifespan="off",
        log_config=None,
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        timeout_graceful_shutdown=1,
        **settings,
    )
    server = Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    task = asyncio.get_running_loop().create_task(server.serve([listener]))
    try:
        while not server.started:
            assert not task.done()
            await asyncio.sleep(0.005)
        yield server, listener.getsockname()[1]
    finally:
        server.should_exit = True
        await asyncio.wait_for(task, TIMEOUT_S)
        listener.close()


class User(Struct, frozen=True):
    """Somebody with a token."""

    id: UserId
    name: str
    token: str
    principal: Principal


class Node(Struct, frozen=True, eq=False):
    """A replica and where it listens."""

    replica: Replica
    port: int

    async def somebody(self, name: str = "somebody") -> User:
        signed_in = await self.replica.accounts.register(f"{name}-{secrets.token_hex(6)}", PASSWORD)
        token = signed_in.token
        return User(signed_in.user.id, signed_in.user.username, token, self.replica.authenticate(token))

    async def group(self, creator: User, *others: User) -> ChatId:
        members = [other.id for other in others] or [creator.id]
        made = await self.replica.chats.create(creator.principal, name="room", is_group=True, member_ids=members)
        return made.chat.id

    async def send(self, sender: User, chat_id: ChatId, *contents: str) -> None:
        """As over REST."""
        for content in contents:
            await self.replica.messages.send(sender.principal, chat_id, content)

    async def connect(self, user: User, query: str = "") -> Client:
        """A client that has heard ``ready``; sent away by a busy machine (1013), it comes again."""
        while True:
            client = await self.open(f"?token={user.token}{query}")
            try:
                client.ready = await client.expect("ready")
            except ConnectionClosed as closed:
                if closed.rcvd is None or closed.rcvd.code != CloseCode.TRY_AGAIN_LATER:
                    raise
            else:
                return client

    async def open(self, query: str = "", path: str = "/ws", **options: Any) -> Client:
        """A client whose handshake was answered. Raises ``InvalidStatus``."""
        address = f"ws://127.0.0.1:{self.port}{path}{query}"
        defaults: dict[str, Any] = {
            "compression": None,
            "ping_interval": None,
            "close_timeout": 2,
            "open_timeout": TIMEOUT_S,
            "proxy": None,
            "max_queue": None,
        }
        return Client(await connect(address, **(defaults | options)))

    async def refusal(self, query: str = "", **options: Any) -> tuple[int, Event, Mapping[str, str]]:
        """The answer to a handshake that is refused."""
        try:
            client = await self.open(query, **options)
        except InvalidStatus as refused:
            response = refused.response
            return response.status_code, json.loads(bytes(response.body or b"{}")), response.headers
        await client.close()
        raise AssertionError("the handshake was accepted")


class Client:
    """One connection, and all that it heard."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.heard: list[Event] = []
        self.ready: Event = {}

    async def tell(self, kind: str, payload: object = None, **rest: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, "payload": {} if payload is None else payload, **rest}))

    async def ask(self, kind: str, payload: object = None) -> Event:
        """The ``ack``, ``error`` or ``pong`` that answers a command, whatever is heard before it."""
        ref = secrets.token_hex(4)
        await self.tell(kind, payload, id=ref)
        while True:
            event = await self.next()
            if event.get("id") == ref:
                return event

    async def done(self, kind: str, payload: object = None) -> Event:
        """The ``ack``'s payload."""
        answer = await self.ask(kind, payload)
        assert answer["type"] == "ack", answer
        told: Event = answer["payload"]
        return told

    async def refused(self, kind: str, payload: object = None) -> str:
        """The ``error``'s code."""
        answer = await self.ask(kind, payload)
        assert answer["type"] == "error", answer
        code: str = answer["payload"]["code"]
        return code

    async def send(self, chat_id: int, content: str, nonce: str | None = None) -> Event:
        payload = {"chat_id": chat_id, "content": content} | ({} if nonce is None else {"nonce": nonce})
        return await self.done("message", payload)

    async def next(self) -> Event:
        event: Event = json.loads(await asyncio.wait_for(self.socket.recv(), TIMEOUT_S))
        self.heard.append(event)
        return event

    async def expect(self, kind: str) -> Event:
        """The next event's payload; it is of this type."""
        event = await self.next()
        assert event["type"] == kind, event
        payload: Event = event["payload"]
        return payload

    async def until(self, kind: str, **fields: object) -> Event:
        """The payload of the next event of this type and with these fields, whatever is heard before it."""
        while True:
            event = await self.next()
            if event["type"] == kind and fields.items() <= event["payload"].items():
                payload: Event = event["payload"]
                return payload

    def of_chat(self, chat_id: int, *kinds: str) -> list[Event]:
        """What was heard of a chat."""
        return [
            event
            for event in self.heard
            if event["payload"].get("chat_id") == chat_id
            and event["type"] not in ("ack", "error")
            and (not kinds or event["type"] in kinds)
        ]

    def positions(self, chat_id: int) -> list[int]:
        """The positions of what was heard of a chat, one for each lasting event, in the order of hearing."""
        found: list[int] = []
        for event in self.of_chat(chat_id, "message", "message_updated", "message_deleted", "system"):
            position = event["payload"].get("changed_seq") or event["payload"].get("seq")
            if position is not None:
                found.append(position)
        return found

    async def closed(self) -> tuple[int, str]:
        """The code and reason of the close that comes."""
        try:
            while True:
                await self.next()
        except ConnectionClosed as closed:
            if closed.rcvd is None:
                raise AssertionError("the connection was lost without a close frame") from closed
            return closed.rcvd.code, closed.rcvd.reason

    async def close(self) -> None:
        await self.socket.close()


@asynccontextmanager
async def node(database_url: str, redis_url: str, protocol: str, **settings: object) -> AsyncIterator[Node]:
    """A replica that serves. ``settings``: such as ``delivery__heartbeat_s``."""
    given = {
        "auth__argon2_memory_kib": 64,
        "auth__argon2_time_cost": 1,
        "auth__argon2_parallelism": 1,
        "presence__enabled": "false",  # it tells what most tests do not expect
        "rate_limits__connect": "100000/minute",  # who comes again and again until all is told may come often
        **settings,
    }
    environment = {"DATABASE_URL": database_url, "REDIS_URL": redis_url}
    environment.update({f"CHATAPP_{key.upper()}": str(value) for key, value in given.items()})
    replica = await build(load(None, environment), b"k" * 32)
    limits = replica.settings.limits
    app = Sockets(
        replica.gateway,
        replica.authenticate,
        replica.socket_tickets,
        allowed_origins=limits.origins(),
        frame_bytes=limits.frame_bytes,
        backlog_bytes=limits.backlog_bytes,
        limits=replica.rate_limiter,
    )
    async with replica.running(), serving(app, PROTOCOLS[protocol]) as (_, port):
        yield Node(replica, port)


async def migrated(database_url: str) -> str:
    """The same address, of a database with its schema."""
    await migrate.upgrade(make_url(database_url).set(drivername="postgresql+asyncpg"))
    return database_url
