"""A replica's services on a real PostgreSQL, with a bus that remembers, for the tests of storage, services and api."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from sqlalchemy import make_url

from chatapp.auth.clock import utc_now
from chatapp.auth.keys import Keyring, SigningKey
from chatapp.auth.passwords import Passwords
from chatapp.auth.principal import Principal
from chatapp.auth.revocations import Revocations
from chatapp.auth.tickets import Tickets
from chatapp.auth.tokens import Tokens
from chatapp.bus.port import BusListener, BusStatus, Delivery
from chatapp.protocol.envelope import Envelope, unpack
from chatapp.protocol.ids import ChatId, UserId
from chatapp.protocol.topics import CONTROL, chat_topic, user_topic
from chatapp.services.accounts import Accounts
from chatapp.services.chats import Chats
from chatapp.services.members import Members
from chatapp.services.messages import Messages
from chatapp.services.operators import Operators
from chatapp.services.publisher import Publisher
from chatapp.services.revoking import Revoking
from chatapp.services.sessions import Sessions
from chatapp.services.tickets import SocketTickets
from chatapp.services.users import Users
from chatapp.storage import migrate
from chatapp.storage.engine import Database, PoolSettings
from chatapp.storage.writer import MessageWriter

PASSWORD = "correct horse"
TOKEN_LIFETIME_S = 3600.0
CONTENT_BYTES = 200
SESSIONS_PER_USER = 5


class RememberingBus:
    """Keeps what was published; carries it nowhere."""

    def __init__(self) -> None:
        self.published: list[Delivery] = []

    def publish(self, topic: bytes, payload: bytes) -> None:
        self.published.append(Delivery(topic, payload))

    def forget(self) -> None:
        self.published.clear()

    def envelopes(self, topic: bytes) -> list[Envelope]:
        return [e for delivery in self.published if delivery.topic == topic for e in unpack(delivery.payload)]

    def events(self, topic: bytes) -> list[dict[str, Any]]:
        """What clients would read of this topic, in its order."""
        return [msgspec.json.decode(frame) for envelope in self.envelopes(topic) for frame in envelope.frames]

    def in_chat(self, chat_id: int) -> list[dict[str, Any]]:
        return self.events(chat_topic(ChatId(chat_id)))

    def to_user(self, user_id: int) -> list[dict[str, Any]]:
        return self.events(user_topic(UserId(user_id)))

    def control(self) -> list[bytes]:
        return [delivery.payload for delivery in self.published if delivery.topic == CONTROL]

    # -- the rest of a bus: nothing here listens ----------------------------------------------------------------------

    async def start(self, listener: BusListener) -> None: ...

    async def subscribe(self, topics: Collection[bytes]) -> bool:
        return True

    async def unsubscribe(self, topics: Collection[bytes]) -> None: ...

    async def ping(self) -> float:
        return 0.0

    @property
    def status(self) -> BusStatus:
        return BusStatus(connected=True, unconfirmed=0, topics=0)

    async def flush(self, timeout_s: float) -> bool:
        return True

    async def close(self) -> None: ...


class World:
    """Everything above storage, built once."""

    def __init__(self, database: Database, keyring: Keyring | None = None) -> None:
        self.database = database
        self.bus = RememberingBus()
        self.publisher = Publisher(self.bus)
        self.passwords = Passwords(time_cost=1, memory_kib=64, parallelism=1, queue=1000)
        self.keyring = keyring or Keyring(SigningKey(secrets.token_bytes(32)))
        self.tokens = Tokens(self.keyring, TOKEN_LIFETIME_S)
        self.revoking = Revoking(database, Revocations(utc_now, self.keyring.accepts), self.publisher)
        self.sessions = Sessions(database, self.revoking, token_lifetime_s=TOKEN_LIFETIME_S, per_user=SESSIONS_PER_USER)
        self.socket_tickets = SocketTickets(database, Tickets(self.keyring), self.revoking)
        self.accounts = Accounts(database, self.passwords, self.tokens, self.revoking, self.sessions)
        self.users = Users(database, self.passwords, self.revoking, self.sessions, self.publisher)
        self.operators = Operators(database, self.passwords, self.tokens, self.revoking, self.sessions, operator="olga")
        self.chats = Chats(database, self.publisher)
        self.members = Members(database, self.publisher)
        self.writer = MessageWriter(database, committed=lambda group: None)
        self.messages = Messages(database, self.writer, self.publisher, CONTENT_BYTES)

    async def somebody(self, name: str = "somebody") -> Principal:
        """A new user, with a name of their own that begins with ``name``."""
        signed_in = await self.accounts.register(f"{name}-{secrets.token_hex(6)}", PASSWORD)
        return self.tokens.verify(signed_in.token)

    async def group(self, creator: Principal, *others: Principal, name: str = "climbing") -> ChatId:
        """A group of these people."""
        member_ids = [other.user_id for other in others] or [creator.user_id]
        made = await self.chats.create(creator, name=name, is_group=True, member_ids=member_ids)
        return made.chat.id

    async def direct(self, one: Principal, other: Principal) -> ChatId:
        """The direct chat of two."""
        made = await self.chats.create(one, name="", is_group=False, member_ids=[other.user_id])
        return made.chat.id


@asynccontextmanager
async def opened_database(url: str) -> AsyncIterator[Database]:
    """The database with its newest schema."""
    address = make_url(url).set(drivername="postgresql+asyncpg")
    await migrate.upgrade(address)
    database = Database(address, PoolSettings(size=8))
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def opened_world(url: str) -> AsyncIterator[World]:
    """The services, ready to be used."""
    async with opened_database(url) as database:
        world = World(database)
        world.writer.start()
        try:
            yield world
        finally:
            await world.writer.close()
            world.passwords.close()
