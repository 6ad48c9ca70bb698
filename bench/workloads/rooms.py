"""Rooms full of clients, at the service and at the floor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from msgspec import Struct

from bench.generator import Client, Generator, Sent
from bench.rig import Rig
from bench.servers import Server
from bench.world import World
from chatapp.protocol.events import MessagePayload, MessageSent, encode_event
from chatapp.protocol.ids import ChatId, MessageId, Seq, UserId

CONTENT = "#@@@@@@@@# Shall we meet at noon?"
"""Of every message; the load generator puts its number into it."""


class Measured(Struct, frozen=True):
    """A load, and what the server computed for it."""

    sent: Sent
    cpu_s: float

    @property
    def us_per_delivery(self) -> float:
        """Microseconds of the server's CPU for each delivery."""
        return self.cpu_s / self.sent.deliveries * 1e6

    @property
    def us_per_message(self) -> float:
        """Microseconds of the server's CPU for each message, deliveries included."""
        return self.cpu_s / self.sent.messages * 1e6


class Room(Struct, frozen=True):
    """One room with all its clients connected."""

    name: str
    server: Server
    clients: Generator

    def send(self, senders: int, window: int, messages: int) -> Measured:
        """As fast as the windows allow."""
        before = self.server.cpu_s()
        sent = self.clients.send(senders, window, messages)
        return Measured(sent, self.server.cpu_s() - before)

    def pace(self, per_s: float, messages: int) -> Measured:
        """One sender, at this rate."""
        before = self.server.cpu_s()
        sent = self.clients.pace(1, per_s, messages)
        return Measured(sent, self.server.cpu_s() - before)


def command(chat_id: int) -> str:
    """The frame that sends a message."""
    return f'{{"type":"message","payload":{{"chat_id":{chat_id},"content":"{CONTENT}"}}}}'


@contextmanager
def service_room(rig: Rig, size: int, name: str = "service") -> Iterator[Room]:
    """A chat with so many members, all of them connected to one replica."""

    async def furnish(world: World) -> list[tuple[str, int]]:
        people = await world.people(size)
        (chat_id,) = await world.chats([people])
        return [(person.token, chat_id) for person in people]

    members = rig.furnish(furnish)
    with rig.replica() as server:
        clients = [Client(server.port, f"/ws?token={token}", size, command(chat)) for token, chat in members]
        with rig.clients(clients) as generator:
            generator.connect()
            yield Room(name, server, generator)


@contextmanager
def floor_room(rig: Rig, size: int) -> Iterator[Room]:
    """The same at the floor, whose clients send what the service's clients get: deliveries of the same size."""
    event = MessageSent(
        MessagePayload(
            message_id=MessageId(123_456),
            content=CONTENT,
            sender_id=UserId(10**12),
            username="bench-01234567-100",
            chat_id=ChatId(10**12),
            timestamp=datetime.now(UTC),
            seq=Seq(12_345),
            kind="text",
        )
    )
    with rig.floor() as server:
        client = Client(server.port, "/", size, encode_event(event).decode())
        with rig.clients([client] * size) as generator:
            generator.connect(frames=0)
            yield Room("floor", server, generator)
