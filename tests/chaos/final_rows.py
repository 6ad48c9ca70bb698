"""Reads what PostgreSQL holds after a run."""

from __future__ import annotations

from tests.chaos.cluster import Cluster
from tests.chaos.history import Database, MessageRow, digest

_MESSAGES = """
    SELECT id, chat_id, seq, changed_seq, sender_id, kind, content, nonce, deleted_at IS NOT NULL AS deleted
    FROM messages ORDER BY chat_id, seq
"""


async def read_database(cluster: Cluster) -> Database:
    """Everything, in one snapshot."""
    async with cluster.database() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        rows = await connection.fetch(_MESSAGES)
        chats = await connection.fetch("SELECT id, last_seq FROM chats")
        members = await connection.fetch("SELECT chat_id, user_id FROM chat_members")
    messages = [
        MessageRow(
            id=row["id"],
            chat_id=row["chat_id"],
            seq=row["seq"],
            changed_seq=None if row["changed_seq"] == row["seq"] else row["changed_seq"],
            sender_id=row["sender_id"],
            kind=row["kind"],
            content=digest(row["content"]),
            nonce=row["nonce"],
            deleted=row["deleted"],
        )
        for row in rows
    ]
    last_seqs = {chat["id"]: chat["last_seq"] for chat in chats}
    return Database(messages, last_seqs, {(member["chat_id"], member["user_id"]) for member in members})
