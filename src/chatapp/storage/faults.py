"""What the driver's errors mean: PostgreSQL cannot do it now, connections are of no more use, or it is a mistake."""

from __future__ import annotations

import asyncio

import asyncpg
from sqlalchemy import exc

# Classes of SQLSTATE that say "not now": connection, not let in or no such database (a password is being changed, a
# server is being set up), resources, operator intervention, read-only, lock not available.
_AWAY = ("08", "28", "3D000", "53", "57", "58", "25006", "55P03", "40001", "40P01", "XX")
# Of these, the ones that the pool's other connections will meet too: the server shuts down, or became a standby.
_LOST = ("08", "57P", "25006")

# InternalClientError: the driver lost its way in the protocol, as when the server ends the connection in between, or
# no host is what ``target_session_attrs`` asks for.
_AWAY_ERRORS = (exc.TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, asyncio.TimeoutError)
_LOST_ERRORS = (asyncpg.InterfaceError, asyncpg.InternalClientError, ConnectionError, asyncio.TimeoutError)


def is_away(error: BaseException) -> bool:
    """Whether the error says that PostgreSQL cannot do it now, and may later."""
    if isinstance(error, exc.IntegrityError):
        return False
    if isinstance(error, exc.DBAPIError):
        return (
            error.connection_invalidated
            or is_away_state(sqlstate(error))
            or isinstance(error, exc.InterfaceError)
            or isinstance(getattr(error.orig, "__cause__", None), _AWAY_ERRORS)
        )
    if isinstance(error, asyncpg.PostgresError):
        return is_away_state(getattr(error, "sqlstate", None))
    return isinstance(error, _AWAY_ERRORS)


def is_lost(error: BaseException) -> bool:
    """Whether the error says that connections opened before it should not be used again.

    The server ended them, does not answer, or takes no writes any more because another one does.
    """
    if isinstance(error, exc.DBAPIError):
        return error.connection_invalidated or (sqlstate(error) or "").startswith(_LOST)
    if isinstance(error, asyncpg.PostgresError):
        return (getattr(error, "sqlstate", None) or "").startswith(_LOST)
    return isinstance(error, _LOST_ERRORS)


def is_away_state(state: str | None) -> bool:
    """Whether this SQLSTATE is one of those."""
    return state is not None and state.startswith(_AWAY)


def sqlstate(error: exc.DBAPIError) -> str | None:
    """The SQLSTATE behind SQLAlchemy's wrapping."""
    state = getattr(error.orig, "sqlstate", None)
    return state if isinstance(state, str) else None


def constraint_of(error: exc.IntegrityError) -> str:
    """The name of the constraint or unique index that was violated."""
    for link in (error.orig, getattr(error.orig, "__cause__", None)):
        name = getattr(link, "constraint_name", None)
        if isinstance(name, str):
            return name
    return ""
