"""The schema, as SQLAlchemy Core tables. Migrations own the database; ``alembic check`` keeps the two alike.

Locking: whatever takes a position in a chat locks the chat's row first (``FOR NO KEY UPDATE``, in ascending order of id
where there are several), and only then looks at members, nonces and messages.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
    }
)


def _id() -> Column[int]:
    return Column("id", BigInteger, Identity(), primary_key=True)


def _time(name: str, *, nullable: bool = False) -> Column[object]:
    if nullable:
        return Column(name, DateTime(timezone=True), nullable=True)
    return Column(name, DateTime(timezone=True), nullable=False, server_default=func.now())


users = Table(
    "users",
    metadata,
    _id(),
    Column("username", Text, nullable=False),
    # The name as it is compared: NFKC and case-folded by the application.
    Column("username_key", Text, nullable=False),
    Column("password", Text, nullable=False),
    Column("display_name", Text, nullable=False, server_default=""),
    # Tokens of a lower generation are void: raised by a new password, by suspension and by deletion.
    Column("token_generation", Integer, nullable=False, server_default="0"),
    _time("created_at"),
    _time("updated_at"),
    _time("last_seen", nullable=True),
    # The account is gone; the row stays because its messages do.
    _time("deleted_at", nullable=True),
    # An operator has shut the account: no login; members and messages stay as they are.
    _time("suspended_at", nullable=True),
    postgresql_with={"fillfactor": "85"},
)
Index("uq_users_username_key", users.c.username_key, unique=True, postgresql_where=users.c.deleted_at.is_(None))
Index(
    "ix_users_username_key_prefix",
    users.c.username_key,
    postgresql_ops={"username_key": "text_pattern_ops"},
    postgresql_where=users.c.deleted_at.is_(None),
)
Index(
    "ix_users_display_name_prefix",
    func.lower(users.c.display_name).label("display_name_lower"),
    postgresql_ops={"display_name_lower": "text_pattern_ops"},
    postgresql_where=users.c.deleted_at.is_(None),
)

chats = Table(
    "chats",
    metadata,
    _id(),
    Column("name", Text, nullable=False, server_default=""),
    Column("is_group", Boolean, nullable=False),
    Column("creator_id", BigInteger, ForeignKey("users.id"), nullable=True),
    # "<lower user id>:<higher user id>" of a direct chat, so that a pair has one.
    Column("direct_key", Text, nullable=True, unique=True),
    # The last position that was given out. Every message changes it: it is in no index, so updates stay in the page.
    Column("last_seq", BigInteger, nullable=False, server_default="0"),
    _time("created_at"),
    _time("updated_at"),
    postgresql_with={"fillfactor": "50"},
)

# Whose groups must pass on when the account is deleted.
Index("ix_chats_creator", chats.c.creator_id)

chat_members = Table(
    "chat_members",
    metadata,
    Column("user_id", BigInteger, ForeignKey("users.id"), nullable=False),
    Column("chat_id", BigInteger, ForeignKey("chats.id", ondelete="CASCADE"), nullable=False),
    Column("is_admin", Boolean, nullable=False, server_default=text("false")),
    _time("joined_at"),
    # The position at which the membership began.
    Column("joined_seq", BigInteger, nullable=False, server_default="0"),
    Column("last_read_seq", BigInteger, nullable=False, server_default="0"),
    PrimaryKeyConstraint("user_id", "chat_id", name="pk_chat_members"),
    postgresql_with={"fillfactor": "80"},
)
Index("ix_chat_members_chat", chat_members.c.chat_id, chat_members.c.joined_at, chat_members.c.user_id)
# What a replica asks for when the bus may have lost a new membership.
Index("ix_chat_members_joined_at", chat_members.c.joined_at)

messages = Table(
    "messages",
    metadata,
    _id(),
    Column("chat_id", BigInteger, ForeignKey("chats.id", ondelete="CASCADE"), nullable=False),
    Column("seq", BigInteger, nullable=False),
    # The position of the newest edit or deletion.
    Column("changed_seq", BigInteger, nullable=True),
    Column("sender_id", BigInteger, ForeignKey("users.id"), nullable=True),
    Column("kind", Text, nullable=False, server_default="text"),
    Column("content", Text, nullable=False),
    Column("nonce", Text, nullable=True),
    # md5 of the content as it was sent, where there is a nonce: a retry is compared with it, also after an edit.
    Column("nonce_digest", Uuid, nullable=True),
    # What a system row did, and to whom: see ``Action`` in ``storage.rows``.
    Column("action", SmallInteger, nullable=True),
    Column("subject_id", BigInteger, ForeignKey("users.id"), nullable=True),
    # Of a system row: the subject's name at the time, or the chat's new name.
    Column("detail", Text, nullable=True),
    Column("is_edited", Boolean, nullable=False, server_default=text("false")),
    _time("created_at"),
    _time("updated_at"),
    _time("deleted_at", nullable=True),
    CheckConstraint("kind IN ('text', 'system')", name="kind"),
    postgresql_with={"fillfactor": "95"},
)
Index("uq_messages_chat_seq", messages.c.chat_id, messages.c.seq, unique=True)
Index(
    "uq_messages_sender_nonce",
    messages.c.sender_id,
    messages.c.nonce,
    unique=True,
    postgresql_where=messages.c.nonce.isnot(None),
)
Index(
    "uq_messages_chat_changed_seq",
    messages.c.chat_id,
    messages.c.changed_seq,
    unique=True,
    postgresql_where=messages.c.changed_seq.isnot(None),
)

revocations = Table(
    "revocations",
    metadata,
    _id(),
    Column("user_id", BigInteger, ForeignKey("users.id"), nullable=False),
    # One token, all tokens of a session (both: either), or (with min_generation) all of the user below a generation,
    # but for one token.
    Column("token_id", Text, nullable=True),
    Column("session_id", BigInteger, nullable=True),
    Column("min_generation", Integer, nullable=True),
    Column("except_token_id", Text, nullable=True),
    _time("effective_at"),
    _time("expires_at"),
    _time("created_at"),
)
Index("ix_revocations_created_at", revocations.c.created_at)
Index("ix_revocations_expires_at", revocations.c.expires_at)

sessions = Table(
    "sessions",
    metadata,
    # One login (or registration) and the tokens that were renewed from it. Gone when it ended or expired.
    _id(),
    Column("user_id", BigInteger, ForeignKey("users.id"), nullable=False),
    # Where the login came from; bounded by the application.
    Column("address", Text, nullable=False, server_default=""),
    Column("user_agent", Text, nullable=False, server_default=""),
    _time("created_at"),
    # Brought up to date every minute at most.
    _time("last_seen"),
    # When its youngest token expires.
    _time("expires_at"),
    postgresql_with={"fillfactor": "80"},
)
Index("ix_sessions_user", sessions.c.user_id, sessions.c.id)
Index("ix_sessions_expires_at", sessions.c.expires_at)

spent_tickets = Table(
    "spent_tickets",
    metadata,
    # Tickets carry what they are good for; only that one was used is kept, for longer than it could be used again.
    Column("ticket_id", Text, primary_key=True),
    _time("spent_at"),
)
Index("ix_spent_tickets_spent_at", spent_tickets.c.spent_at)

audit_log = Table(
    "audit_log",
    metadata,
    # What admins and operators did, written with the act. No foreign keys: it outlives what it speaks of.
    _id(),
    _time("at"),
    Column("actor_kind", Text, nullable=False),
    # Of a user; an operator has a name only.
    Column("actor_id", BigInteger, nullable=True),
    Column("actor_name", Text, nullable=False),
    Column("action", Text, nullable=False),
    # Such as "chat:7".
    Column("target", Text, nullable=False),
    Column("details", JSONB, nullable=False, server_default=text("'{}'")),
    Column("request_id", Text, nullable=False, server_default=""),
    CheckConstraint("actor_kind IN ('user', 'operator', 'replica')", name="actor_kind"),
)
Index("ix_audit_log_target", audit_log.c.target, audit_log.c.id)
Index("ix_audit_log_actor", audit_log.c.actor_id, audit_log.c.id)

epochs = Table(
    "epochs",
    metadata,
    # One row: whether the database is still the one whose positions clients hold.
    Column("only_row", Boolean, primary_key=True, server_default=text("true")),
    Column("epoch", Text, nullable=False),
    # Which cluster and timeline of PostgreSQL the epoch was begun on: a restored backup or a promoted standby differs.
    Column("identity", Text, nullable=False, server_default=""),
    CheckConstraint("only_row", name="only_row"),
)
