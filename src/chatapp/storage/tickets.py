"""Statements on tickets that were used: the one thing about a ticket that all replicas must agree on."""

from __future__ import annotations

from sqlalchemy import text

from chatapp.protocol.ids import TokenId
from chatapp.storage.engine import Database

_SPEND = text("INSERT INTO spent_tickets (ticket_id) VALUES (:id) ON CONFLICT DO NOTHING RETURNING ticket_id")
# A ticket lives for 30 s; an hour is more than clocks may differ.
_PRUNE = text("DELETE FROM spent_tickets WHERE spent_at < now() - interval '1 hour'")


async def spend(database: Database, ticket_id: TokenId) -> bool:
    """Use a ticket up. False when it was used before; of two that do it at the same moment, one gets True."""
    async with database.read() as connection:
        return (await connection.execute(_SPEND, {"id": ticket_id})).first() is not None


async def prune(database: Database) -> None:
    """Forget tickets that nobody accepts any more."""
    async with database.read() as connection:
        await connection.execute(_PRUNE)
