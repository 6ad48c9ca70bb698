"""Users, chats and messages in bulk: made by SQL, because they are not what is measured."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import asyncpg
from msgspec import Struct

from chatapp.auth.keys import Keyring, SigningKey
from chatapp.auth.tokens import Tokens
from chatapp.protocol.ids import UserId

_TOKEN_LIFETIME_S = 86_400.0

_USERS = """
    INSERT INTO users (username, username_key, password)
    SELECT name, name, '' FROM (SELECT $1 || i AS name FROM generate_series(1, $2) i) names RETURNING id, username
"""
_CHATS = "INSERT INTO chats (is_group, name) SELECT true, 'bench' FROM generate_series(1, $1) RETURNING id"
_MESSAGES = """
    INSERT INTO messages (chat_id, seq, sender_id, content)
    SELECT $1, i, $2, 'message number ' || i FROM generate_series(1, $3::bigint) i
"""
_NUMBERED = "UPDATE chats SET last_seq = $2 WHERE id = $1"


class Person(Struct, frozen=True):
    """Somebody with a token."""

    user_id: int
    username: str
    token: str


class World:
    """One database's contents. ``key`` signs the tokens, and must be the replicas' too."""

    def __init__(self, connection: asyncpg.Connection, key: bytes) -> None:
        self._connection = connection
        self._tokens = Tokens(Keyring(SigningKey(key)), _TOKEN_LIFETIME_S)

    async def separate(self) -> None:
        """Number users and chats from a random place on: databases that share a Redis must not share topics."""
        for table in ("users", "chats"):
            start = 10**12 + secrets.randbelow(10**11)
            await self._connection.execute(f"ALTER TABLE {table} ALTER COLUMN id RESTART WITH {start}")

    async def people(self, count: int) -> list[Person]:
        """New users."""
        rows = await self._connection.fetch(_USERS, f"bench-{secrets.token_hex(4)}-", count)
        return [Person(row[0], row[1], self._tokens.issue(UserId(row[0]), row[1], 0)[0]) for row in rows]

    async def chats(self, members: Sequence[Sequence[Person]]) -> list[int]:
        """A new group for each list of members; returns the ids in the same order."""
        ids = [row[0] for row in await self._connection.fetch(_CHATS, len(members))]
        await self._connection.copy_records_to_table(
            "chat_members",
            records=[
                (person.user_id, chat_id) for chat_id, people in zip(ids, members, strict=True) for person in people
            ],
            columns=["user_id", "chat_id"],
        )
        await self._connection.execute("ANALYZE chat_members, chats, users")
        return ids

    async def messages(self, chat_id: int, sender: Person, count: int) -> None:
        """Fill an empty chat with this many messages."""
        await self._connection.execute(_MESSAGES, chat_id, sender.user_id, count)
        await self._connection.execute(_NUMBERED, chat_id, count)
        await self._connection.execute("VACUUM ANALYZE messages")


def blocks(people: Sequence[Person], size: int, chats_each: int) -> list[Sequence[Person]]:
    """Members for chats of ``size``, with everybody in ``chats_each`` of them: those of a block share all."""
    return [people[at : at + size] for at in range(0, len(people), size) for _ in range(chats_each)]
