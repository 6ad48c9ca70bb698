"""The write path as it is usually written: for each message a session, the ORM, and a commit.

``python -m bench.naive URL SECONDS`` with ``[[user_id, chat_id], …]`` on standard input: so many senders at once, each
with one message after the other. No sockets and no publishing: this is the write alone, which flatters it. It has as
many connections as the service.
"""

from __future__ import annotations

import asyncio
import sys
import time

import msgspec
import uvloop
from msgspec import Struct
from sqlalchemy import make_url, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import registry

from chatapp.storage.tables import chat_members, chats, messages

_POOL_SIZE = 10
_POOL_TIMEOUT_S = 60.0
_CONTENT = "#00000000# Shall we meet at noon?"


class Chat:
    id: int
    last_seq: int


class Member:
    user_id: int


class Message:
    def __init__(self, chat_id: int, seq: int, sender_id: int, content: str) -> None:
        self.chat_id = chat_id
        self.seq = seq
        self.sender_id = sender_id
        self.content = content


class Written(Struct, frozen=True):
    """How many messages were committed, in how long, and what the application computed for them."""

    messages: int
    seconds: float
    cpu_s: float


async def write(sessions: async_sessionmaker[AsyncSession], user_id: int, chat_id: int) -> None:
    """One message: authorise, number, insert, commit."""
    async with sessions() as session:
        member = await session.execute(select(Member).filter_by(user_id=user_id, chat_id=chat_id))
        member.scalar_one()
        chat = (await session.execute(select(Chat).filter_by(id=chat_id).with_for_update())).scalar_one()
        chat.last_seq += 1
        session.add(Message(chat_id, chat.last_seq, user_id, _CONTENT))
        await session.commit()


async def measure(url: str, seconds: float, senders: list[tuple[int, int]]) -> Written:
    """Let all senders write for so long."""
    mapper = registry()
    for kind, table in ((Chat, chats), (Member, chat_members), (Message, messages)):
        mapper.map_imperatively(kind, table)
    engine = create_async_engine(
        make_url(url).set(drivername="postgresql+asyncpg"),
        pool_size=_POOL_SIZE,
        max_overflow=0,
        pool_timeout=_POOL_TIMEOUT_S,
    )
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    await asyncio.gather(*(write(sessions, *sender) for sender in senders[:_POOL_SIZE]))
    began, cpu, written = time.monotonic(), time.process_time(), 0

    async def keep_writing(user_id: int, chat_id: int) -> None:
        nonlocal written
        while time.monotonic() - began < seconds:
            await write(sessions, user_id, chat_id)
            written += 1

    async with asyncio.TaskGroup() as group:
        for sender in senders:
            group.create_task(keep_writing(*sender))
    result = Written(written, time.monotonic() - began, time.process_time() - cpu)
    await engine.dispose()
    return result


def main() -> None:
    """The command."""
    senders = msgspec.json.decode(sys.stdin.buffer.read(), type=list[tuple[int, int]])
    written = uvloop.run(measure(sys.argv[1], float(sys.argv[2]), senders))
    print(msgspec.json.encode(written).decode())


if __name__ == "__main__":
    main()
