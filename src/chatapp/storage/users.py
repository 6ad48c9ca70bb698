"""Statements on users. Those who deleted their account do not exist here, but for the row that their messages need."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct
from sqlalchemy import exc, text
from sqlalchemy.ext.asyncio import AsyncConnection

from chatapp.errors import UsernameTaken
from chatapp.protocol.ids import SessionId, UserId
from chatapp.protocol.text import name_key
from chatapp.protocol.views import Profile
from chatapp.storage.engine import Database, constraint_of
from chatapp.storage.sessions import Origin

_PROFILE = "id, username, display_name, created_at, last_seen"

_INSERT = text(
    f"""
    INSERT INTO users (username, username_key, password, display_name)
    VALUES (:username, :username_key, :password, :display_name) RETURNING {_PROFILE}
    """  # noqa: S608
)
# The first session comes with the account: in one round trip, and not one without the other.
_REGISTER = text(
    f"""
    WITH added AS (
        INSERT INTO users (username, username_key, password, display_name)
        VALUES (:username, :username_key, :password, :display_name) RETURNING {_PROFILE}
    ), opened AS (
        INSERT INTO sessions (user_id, address, user_agent, expires_at)
        SELECT id, CAST(:address AS text), CAST(:user_agent AS text), CAST(:expires_at AS timestamptz) FROM added
        RETURNING id
    )
    SELECT added.*, opened.id AS session_id FROM added, opened
    """  # noqa: S608
)
_CREDENTIALS = text(
    f"SELECT {_PROFILE}, password, token_generation, suspended_at FROM users "  # noqa: S608
    "WHERE username_key = :username_key AND deleted_at IS NULL"
)
_GENERATION = text("SELECT token_generation FROM users WHERE id = :id AND deleted_at IS NULL")
_GET = text(f"SELECT {_PROFILE} FROM users WHERE id = :id AND deleted_at IS NULL")  # noqa: S608
_PAGE = text(
    f"SELECT {_PROFILE} FROM users WHERE deleted_at IS NULL "  # noqa: S608
    "ORDER BY username_key, id LIMIT :limit OFFSET :offset"
)
# Two prefix scans, joined: each condition is as one of the indexes ix_users_..._prefix has it.
_PAGE_LIKE = text(
    f"""
    SELECT {_PROFILE} FROM users
    WHERE deleted_at IS NULL AND (username_key LIKE :key_pattern OR lower(display_name) LIKE lower(:name_pattern))
    ORDER BY username_key, id LIMIT :limit OFFSET :offset
    """  # noqa: S608
)
_RENAME = text(
    f"""
    UPDATE users SET display_name = coalesce(:display_name, display_name), updated_at = now()
    WHERE id = :id AND deleted_at IS NULL RETURNING {_PROFILE}
    """  # noqa: S608
)
_NEW_PASSWORD = text(
    f"""
    UPDATE users SET display_name = coalesce(:display_name, display_name), password = :password,
        token_generation = token_generation + 1, updated_at = now()
    WHERE id = :id AND deleted_at IS NULL RETURNING {_PROFILE}, token_generation
    """  # noqa: S608
)
# Only when the password is still the one that was verified.
_REHASH = text("UPDATE users SET password = :password WHERE id = :id AND password = :stored AND deleted_at IS NULL")
_TOUCH = text(
    "UPDATE users SET last_seen = clock_timestamp() WHERE id = :id AND deleted_at IS NULL RETURNING last_seen"
)
# Locked against being deleted until the transaction ends, in the order of their ids.
_LIVING = text(
    "SELECT id, username FROM users WHERE id = ANY (CAST(:ids AS bigint[])) AND deleted_at IS NULL "
    "ORDER BY id FOR SHARE"
)
_END_TOKENS = text(
    "UPDATE users SET token_generation = token_generation + 1 WHERE id = :id AND deleted_at IS NULL "
    "RETURNING token_generation"
)
_SUSPEND = text(
    """
    UPDATE users SET suspended_at = now(), token_generation = token_generation + 1, updated_at = now()
    WHERE id = :id AND deleted_at IS NULL AND suspended_at IS NULL RETURNING token_generation
    """
)
_REINSTATE = text(
    "UPDATE users SET suspended_at = NULL, updated_at = now() "
    "WHERE id = :id AND deleted_at IS NULL AND suspended_at IS NOT NULL RETURNING id"
)
_ACCOUNTS = text(
    f"""
    SELECT {_PROFILE}, suspended_at FROM users
    WHERE deleted_at IS NULL AND (CAST(:id AS bigint) IS NULL OR id = :id)
        AND (CAST(:username_key AS text) IS NULL OR username_key = :username_key)
    ORDER BY username_key, id LIMIT :limit OFFSET :offset
    """  # noqa: S608
)
_TOMBSTONE = text(
    """
    UPDATE users SET username = 'deleted user', username_key = 'deleted:' || id, password = '', display_name = '',
        token_generation = token_generation + 1, deleted_at = now(), updated_at = now()
    WHERE id = :id AND deleted_at IS NULL RETURNING token_generation
    """
)


class Credentials(Struct, frozen=True):
    """What a login is checked against, read at one moment."""

    profile: Profile
    password: str
    """The hash."""
    generation: int
    """The token generation: a token made with it ends with the next new password."""
    suspended: bool = False


class Account(Struct, frozen=True):
    """A user as operators see it."""

    profile: Profile
    suspended_at: datetime | None


class _NameTaken:
    """Within this block the violation of the name's uniqueness becomes ``UsernameTaken``."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, exc.IntegrityError) and constraint_of(error) == "uq_users_username_key":
            raise UsernameTaken from None


async def register(
    database: Database, username: str, password: str, display_name: str, origin: Origin, *, expires_at: datetime
) -> tuple[Profile, SessionId]:
    """Add a user and the first session, which lasts until ``expires_at``. ``password`` is the hash.

    Raises ``UsernameTaken``, also when two do it at the same moment.
    """
    values = {
        **_account(username, password, display_name),
        "address": origin.address,
        "user_agent": origin.user_agent,
        "expires_at": expires_at,
    }
    with _NameTaken():
        async with database.read() as connection:
            row = (await connection.execute(_REGISTER, values)).one()
    return _profile(row), row.session_id


async def insert(connection: AsyncConnection, username: str, password: str, display_name: str) -> Profile:
    """Add a user. Raises as ``register`` does."""
    with _NameTaken():
        return _profile((await connection.execute(_INSERT, _account(username, password, display_name))).one())


async def credentials(database: Database, username: str) -> Credentials | None:
    """What is needed to log in under this name, without regard to case."""
    async with database.read() as connection:
        row = (await connection.execute(_CREDENTIALS, {"username_key": name_key(username)})).first()
    return (
        None
        if row is None
        else Credentials(_profile(row), row.password, row.token_generation, row.suspended_at is not None)
    )


async def generation(database: Database, user_id: UserId) -> int | None:
    """The user's token generation; None without such a user."""
    async with database.read() as connection:
        found: int | None = (await connection.execute(_GENERATION, {"id": user_id})).scalar()
    return found


async def get(database: Database, user_id: UserId) -> Profile | None:
    """One user."""
    async with database.read() as connection:
        row = (await connection.execute(_GET, {"id": user_id})).first()
    return None if row is None else _profile(row)


async def page(database: Database, *, limit: int, offset: int, prefix: str = "") -> list[Profile]:
    """Users by name; with ``prefix`` those whose user name or display name begins with it, without regard to case."""
    values: dict[str, Any] = {"limit": limit, "offset": offset}
    statement = _PAGE
    if prefix:
        statement = _PAGE_LIKE
        values["key_pattern"] = _pattern(name_key(prefix))
        values["name_pattern"] = _pattern(prefix)
    async with database.read() as connection:
        rows = (await connection.execute(statement, values)).all()
    return [_profile(row) for row in rows]


async def rename(database: Database, user_id: UserId, display_name: str | None) -> Profile | None:
    """Set the display name, unless it is None. None without such a user."""
    async with database.read() as connection:
        row = (await connection.execute(_RENAME, {"id": user_id, "display_name": display_name})).first()
    return None if row is None else _profile(row)


async def new_password(
    connection: AsyncConnection, user_id: UserId, password: str, display_name: str | None
) -> tuple[Profile, int] | None:
    """Set the hash (and the display name) and raise the token generation: the profile and the new generation."""
    values = {"id": user_id, "password": password, "display_name": display_name}
    row = (await connection.execute(_NEW_PASSWORD, values)).first()
    return None if row is None else (_profile(row), row.token_generation)


async def rehash(database: Database, user_id: UserId, stored: str, password: str) -> None:
    """Replace the hash ``stored`` of the same password by one of today's costs; not if it has changed meanwhile."""
    async with database.read() as connection:
        await connection.execute(_REHASH, {"id": user_id, "stored": stored, "password": password})


async def touch_last_seen(database: Database, user_id: UserId) -> datetime | None:
    """Note that the user is here now; the database's time. None without such a user."""
    async with database.read() as connection:
        seen: datetime | None = (await connection.execute(_TOUCH, {"id": user_id})).scalar()
    return seen


async def end_tokens(connection: AsyncConnection, user_id: UserId) -> int | None:
    """Raise the user's token generation: the new one. None without such a user."""
    raised: int | None = (await connection.execute(_END_TOKENS, {"id": user_id})).scalar()
    return raised


async def suspend(connection: AsyncConnection, user_id: UserId) -> int | None:
    """Shut the account: the new token generation. None without such a user, and when it is shut already."""
    raised: int | None = (await connection.execute(_SUSPEND, {"id": user_id})).scalar()
    return raised


async def reinstate(connection: AsyncConnection, user_id: UserId) -> bool:
    """Open it again. False without such a user, and when it is not shut."""
    return (await connection.execute(_REINSTATE, {"id": user_id})).first() is not None


async def account(database: Database, user_id: UserId) -> Account | None:
    """One user."""
    found = await _accounts(database, user_id=user_id, limit=1)
    return found[0] if found else None


async def account_named(database: Database, username: str) -> Account | None:
    """The user of this name, without regard to case."""
    found = await _accounts(database, username_key=name_key(username), limit=1)
    return found[0] if found else None


async def accounts(database: Database, *, limit: int, offset: int) -> list[Account]:
    """Users by name."""
    return await _accounts(database, limit=limit, offset=offset)


async def living(connection: AsyncConnection, user_ids: Iterable[UserId]) -> dict[UserId, str]:
    """The names of those of these users who exist; they cannot be deleted before the transaction ends."""
    rows = (await connection.execute(_LIVING, {"ids": list(user_ids)})).all()
    return {row.id: row.username for row in rows}


async def tombstone(connection: AsyncConnection, user_id: UserId) -> int | None:
    """Empty the user's row and free the name: the new token generation. None without such a user.

    Lock the user's chats before; look at the memberships after.
    """
    raised: int | None = (await connection.execute(_TOMBSTONE, {"id": user_id})).scalar()
    return raised


async def _accounts(
    database: Database,
    *,
    limit: int,
    offset: int = 0,
    user_id: UserId | None = None,
    username_key: str | None = None,
) -> list[Account]:
    values = {"id": user_id, "username_key": username_key, "limit": limit, "offset": offset}
    async with database.read() as connection:
        rows = (await connection.execute(_ACCOUNTS, values)).all()
    return [Account(_profile(row), row.suspended_at) for row in rows]


def _account(username: str, password: str, display_name: str) -> dict[str, str]:
    return {
        "username": username,
        "username_key": name_key(username),
        "password": password,
        "display_name": display_name,
    }


def _profile(row: Any) -> Profile:
    return Profile(row.id, row.username, row.created_at, row.display_name, row.last_seen)


def _pattern(prefix: str) -> str:
    escaped: Sequence[str] = ["\\" + c if c in "\\%_" else c for c in prefix]
    return "".join(escaped) + "%"
