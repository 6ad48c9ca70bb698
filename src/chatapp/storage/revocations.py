"""Statements on ended tokens. The rows are read by every replica, so that a revocation also arrives without the bus."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from chatapp.protocol.ids import SessionId, TokenId, UserId
from chatapp.storage.engine import Database

COLUMNS = "id, user_id, token_id, session_id, min_generation, except_token_id, effective_at, expires_at, created_at"

# created_at is when the row was written, not when its transaction began: readers look back a fixed time.
_INSERT = text(
    f"""
    INSERT INTO revocations
        (user_id, token_id, session_id, min_generation, except_token_id, expires_at, created_at, effective_at)
    SELECT CAST(:user_id AS bigint), CAST(:token_id AS text), CAST(:session_id AS bigint),
        CAST(:min_generation AS integer), CAST(:except_token_id AS text), CAST(:expires_at AS timestamptz),
        time.now, time.now + CAST(:delay AS interval)
    FROM (SELECT clock_timestamp() AS now) time
    RETURNING {COLUMNS}
    """  # noqa: S608
)
_UNEXPIRED = text(f"SELECT {COLUMNS} FROM revocations WHERE expires_at > now() ORDER BY id")  # noqa: S608
_RECENT = text(
    f"SELECT {COLUMNS} FROM revocations "  # noqa: S608
    "WHERE created_at > now() - CAST(:window AS interval) ORDER BY id"
)
_SPARES = text(
    """
    SELECT NOT EXISTS (
        SELECT 1 FROM revocations WHERE user_id = :user_id AND min_generation > :generation
            AND except_token_id IS DISTINCT FROM :token_id
    )
    """
)
_PRUNE = text("DELETE FROM revocations WHERE expires_at < now() - interval '1 minute'")


class RevocationRow(Struct, frozen=True, kw_only=True):
    """One row: the end of one token, of a session, or of a user's tokens below a generation but for one."""

    id: int
    user_id: UserId
    expires_at: datetime
    token_id: TokenId | None
    session_id: SessionId | None
    min_generation: int | None
    except_token_id: TokenId | None
    effective_at: datetime | None
    """When the token ends, by the database's clock; None is at once."""


async def end_token(
    connection: AsyncConnection,
    user_id: UserId,
    token_id: TokenId,
    *,
    expires_at: datetime,
    delay: timedelta,
    session_id: SessionId | None = None,
) -> RevocationRow:
    """End one token, ``delay`` from now by the database's clock. ``expires_at``: of the token.

    With ``session_id`` all other tokens of the session too; then ``expires_at`` is that of the youngest.
    """
    return await _insert(connection, user_id, expires_at, delay=delay, token_id=token_id, session_id=session_id)


async def end_session(
    connection: AsyncConnection, user_id: UserId, session_id: SessionId, *, expires_at: datetime
) -> RevocationRow:
    """End all tokens of a session at once. ``expires_at``: of the youngest of them."""
    return await _insert(connection, user_id, expires_at, session_id=session_id)


async def end_generations(
    connection: AsyncConnection,
    user_id: UserId,
    min_generation: int,
    *,
    expires_at: datetime,
    except_token_id: TokenId | None = None,
) -> RevocationRow:
    """End the user's tokens of lower generations at once, but for one. ``expires_at``: of the youngest of them."""
    return await _insert(
        connection, user_id, expires_at, min_generation=min_generation, except_token_id=except_token_id
    )


async def unexpired(database: Database) -> list[RevocationRow]:
    """All that still matter, oldest first."""
    async with database.read() as connection:
        return [row(found) for found in (await connection.execute(_UNEXPIRED)).all()]


async def recent(database: Database, window: timedelta) -> list[RevocationRow]:
    """Those written within the last ``window``, oldest first."""
    async with database.read() as connection:
        return [row(found) for found in (await connection.execute(_RECENT, {"window": window})).all()]


async def spares(database: Database, user_id: UserId, token_id: TokenId, generation: int) -> bool:
    """Whether no row ends this token by its generation. Reads the whole table: for rare cases."""
    values = {"user_id": user_id, "token_id": token_id, "generation": generation}
    async with database.read() as connection:
        return bool((await connection.execute(_SPARES, values)).scalar())


async def prune(database: Database) -> None:
    """Delete those that nobody needs any more."""
    async with database.read() as connection:
        await connection.execute(_PRUNE)


async def _insert(
    connection: AsyncConnection,
    user_id: UserId,
    expires_at: datetime,
    *,
    token_id: TokenId | None = None,
    session_id: SessionId | None = None,
    min_generation: int | None = None,
    except_token_id: TokenId | None = None,
    delay: timedelta = timedelta(0),
) -> RevocationRow:
    values = {
        "user_id": user_id,
        "token_id": token_id,
        "session_id": session_id,
        "min_generation": min_generation,
        "except_token_id": except_token_id,
        "delay": delay,
        "expires_at": expires_at,
    }
    return row((await connection.execute(_INSERT, values)).one())


def row(found: Any) -> RevocationRow:
    """What a statement that returns ``COLUMNS`` found."""
    return RevocationRow(
        id=found.id,
        user_id=found.user_id,
        expires_at=found.expires_at,
        token_id=found.token_id,
        session_id=found.session_id,
        min_generation=found.min_generation,
        except_token_id=found.except_token_id,
        effective_at=found.effective_at if found.effective_at > found.created_at else None,
    )
