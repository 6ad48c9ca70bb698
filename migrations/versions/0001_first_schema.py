"""The first schema: users, chats, members, messages, and the function that appends messages in groups.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


# One round trip for a group of messages. The chats are locked first, in the order of their ids, by a statement of its
# own: under READ COMMITTED the statement after it sees members, nonces and numbers as they are once the locks are held.
# Without p_wait a chat that somebody else has locked is left alone, so that it cannot hold up the others.
# Outcomes: 0 stored, 1 the same was stored before (nonce), 2 the nonce belongs to another message, 3 not a member,
# 4 the chat is locked by somebody else.
# The planner is held to nested loops over the indexes: its plans are kept for the connection's life, and what it would
# choose while the tables are empty is ruinous when they are not.
APPEND_MESSAGES = """
CREATE FUNCTION append_messages(p_sender bigint[], p_chat bigint[], p_content text[], p_nonce text[], p_wait boolean)
RETURNS TABLE (ord bigint, outcome integer, message_id bigint, seq bigint, created_at timestamptz, username text)
LANGUAGE plpgsql SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
  v_now timestamptz;
  v_locked bigint[];
BEGIN
  IF p_wait THEN
    v_locked := ARRAY(SELECT c.id FROM chats c WHERE c.id = ANY (p_chat) ORDER BY c.id FOR NO KEY UPDATE);
  ELSE
    v_locked := ARRAY(SELECT c.id FROM chats c WHERE c.id = ANY (p_chat) ORDER BY c.id FOR NO KEY UPDATE SKIP LOCKED);
  END IF;
  v_now := clock_timestamp();
  RETURN QUERY
  WITH request AS (
    SELECT r.sender_id, r.chat_id, r.content, r.nonce, r.n
    FROM unnest(p_sender, p_chat, p_content, p_nonce) WITH ORDINALITY AS r (sender_id, chat_id, content, nonce, n)
  ), judged AS (
    SELECT r.*, u.username, member.user_id IS NOT NULL AS is_member, r.chat_id = ANY (v_locked) AS is_locked,
           earlier.id AS earlier_id, earlier.seq AS earlier_seq, earlier.created_at AS earlier_at,
           earlier.chat_id = r.chat_id
             AND (earlier.nonce_digest IS NULL OR earlier.nonce_digest = md5(r.content)::uuid) AS is_same
    FROM request r
    LEFT JOIN users u ON u.id = r.sender_id
    LEFT JOIN chat_members member ON member.user_id = r.sender_id AND member.chat_id = r.chat_id
    LEFT JOIN messages earlier ON r.nonce IS NOT NULL AND earlier.sender_id = r.sender_id AND earlier.nonce = r.nonce
  ), numbered AS (
    SELECT j.n, j.sender_id, j.chat_id, j.content, j.nonce,
           c.last_seq + row_number() OVER (PARTITION BY j.chat_id ORDER BY j.n) AS new_seq
    FROM judged j JOIN chats c ON c.id = j.chat_id
    WHERE j.is_member AND j.is_locked AND j.earlier_id IS NULL
  ), stored AS (
    INSERT INTO messages (chat_id, seq, sender_id, kind, content, nonce, nonce_digest, created_at, updated_at)
    SELECT s.chat_id, s.new_seq, s.sender_id, 'text', s.content, s.nonce,
           CASE WHEN s.nonce IS NOT NULL THEN md5(s.content)::uuid END, v_now, v_now
    FROM numbered s ORDER BY s.n
    RETURNING messages.id, messages.chat_id, messages.seq
  ), counted AS (
    UPDATE chats c SET last_seq = t.top, updated_at = v_now
    FROM (SELECT s.chat_id, max(s.new_seq) AS top FROM numbered s GROUP BY s.chat_id) t
    WHERE c.id = t.chat_id
  )
  SELECT j.n,
         CASE WHEN j.earlier_id IS NOT NULL THEN CASE WHEN j.is_same THEN 1 ELSE 2 END
              WHEN stored.id IS NOT NULL THEN 0
              WHEN j.is_member AND NOT j.is_locked THEN 4
              ELSE 3 END,
         coalesce(stored.id, j.earlier_id), coalesce(stored.seq, j.earlier_seq),
         CASE WHEN stored.id IS NOT NULL THEN v_now ELSE j.earlier_at END, j.username
  FROM judged j
  LEFT JOIN numbered s ON s.n = j.n
  LEFT JOIN stored ON stored.chat_id = s.chat_id AND stored.seq = s.new_seq
  ORDER BY j.n;
END
$$
"""


def upgrade() -> None:
    op.create_table(
        "epochs",
        sa.Column("only_row", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("epoch", sa.Text(), nullable=False),
        sa.Column("identity", sa.Text(), server_default="", nullable=False),
        sa.CheckConstraint("only_row", name=op.f("ck_epochs_only_row")),
        sa.PrimaryKeyConstraint("only_row", name=op.f("pk_epochs")),
    )
    op.create_table(
        "users",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("username_key", sa.Text(), nullable=False),
        sa.Column("password", sa.Text(), nullable=False),
        sa.Column("display_name", sa.Text(), server_default="", nullable=False),
        sa.Column("token_generation", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_seen", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        postgresql_with={"fillfactor": "85"},
    )
    op.create_index(
        "ix_users_display_name_prefix",
        "users",
        [sa.literal_column("lower(display_name)").label("display_name_lower")],
        unique=False,
        postgresql_ops={"display_name_lower": "text_pattern_ops"},
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_index(
        "ix_users_username_key_prefix",
        "users",
        ["username_key"],
        unique=False,
        postgresql_ops={"username_key": "text_pattern_ops"},
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_index(
        "uq_users_username_key", "users", ["username_key"], unique=True, postgresql_where=sa.text("deleted_at IS NULL")
    )
    op.create_table(
        "chats",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.Column("is_group", sa.Boolean(), nullable=False),
        sa.Column("creator_id", sa.BigInteger(), nullable=True),
        sa.Column("direct_key", sa.Text(), nullable=True),
        sa.Column("last_seq", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["creator_id"], ["users.id"], name=op.f("fk_chats_creator_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_chats")),
        sa.UniqueConstraint("direct_key", name=op.f("uq_chats_direct_key")),
        postgresql_with={"fillfactor": "50"},
    )
    op.create_index("ix_chats_creator", "chats", ["creator_id"], unique=False)
    op.create_table(
        "revocations",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("token_id", sa.Text(), nullable=True),
        sa.Column("min_generation", sa.Integer(), nullable=True),
        sa.Column("except_token_id", sa.Text(), nullable=True),
        sa.Column("effective_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_revocations_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_revocations")),
    )
    op.create_index("ix_revocations_created_at", "revocations", ["created_at"], unique=False)
    op.create_index("ix_revocations_expires_at", "revocations", ["expires_at"], unique=False)
    op.create_table(
        "chat_members",
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("chat_id", sa.BigInteger(), nullable=False),
        sa.Column("is_admin", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("joined_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("joined_seq", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("last_read_seq", sa.BigInteger(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["chat_id"], ["chats.id"], name=op.f("fk_chat_members_chat_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_chat_members_user_id")),
        sa.PrimaryKeyConstraint("user_id", "chat_id", name="pk_chat_members"),
        postgresql_with={"fillfactor": "80"},
    )
    op.create_index("ix_chat_members_chat", "chat_members", ["chat_id", "joined_at", "user_id"], unique=False)
    op.create_index("ix_chat_members_joined_at", "chat_members", ["joined_at"], unique=False)
    op.create_table(
        "messages",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("chat_id", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("changed_seq", sa.BigInteger(), nullable=True),
        sa.Column("sender_id", sa.BigInteger(), nullable=True),
        sa.Column("kind", sa.Text(), server_default="text", nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("nonce", sa.Text(), nullable=True),
        sa.Column("nonce_digest", sa.Uuid(), nullable=True),
        sa.Column("action", sa.SmallInteger(), nullable=True),
        sa.Column("subject_id", sa.BigInteger(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("is_edited", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("kind IN ('text', 'system')", name=op.f("ck_messages_kind")),
        sa.ForeignKeyConstraint(["chat_id"], ["chats.id"], name=op.f("fk_messages_chat_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["sender_id"], ["users.id"], name=op.f("fk_messages_sender_id")),
        sa.ForeignKeyConstraint(["subject_id"], ["users.id"], name=op.f("fk_messages_subject_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_messages")),
        postgresql_with={"fillfactor": "95"},
    )
    op.create_index(
        "uq_messages_chat_changed_seq",
        "messages",
        ["chat_id", "changed_seq"],
        unique=True,
        postgresql_where=sa.text("changed_seq IS NOT NULL"),
    )
    op.create_index("uq_messages_chat_seq", "messages", ["chat_id", "seq"], unique=True)
    op.create_index(
        "uq_messages_sender_nonce",
        "messages",
        ["sender_id", "nonce"],
        unique=True,
        postgresql_where=sa.text("nonce IS NOT NULL"),
    )
    op.execute(APPEND_MESSAGES)
    op.execute("INSERT INTO epochs (epoch) VALUES (gen_random_uuid()::text)")


def downgrade() -> None:
    op.execute("DROP FUNCTION append_messages(bigint[], bigint[], text[], text[], boolean)")
    op.drop_index("uq_messages_sender_nonce", table_name="messages", postgresql_where=sa.text("nonce IS NOT NULL"))
    op.drop_index("uq_messages_chat_seq", table_name="messages")
    op.drop_index(
        "uq_messages_chat_changed_seq", table_name="messages", postgresql_where=sa.text("changed_seq IS NOT NULL")
    )
    op.drop_table("messages")
    op.drop_index("ix_chat_members_joined_at", table_name="chat_members")
    op.drop_index("ix_chat_members_chat", table_name="chat_members")
    op.drop_table("chat_members")
    op.drop_index("ix_revocations_expires_at", table_name="revocations")
    op.drop_index("ix_revocations_created_at", table_name="revocations")
    op.drop_table("revocations")
    op.drop_index("ix_chats_creator", table_name="chats")
    op.drop_table("chats")
    op.drop_index("uq_users_username_key", table_name="users", postgresql_where=sa.text("deleted_at IS NULL"))
    op.drop_index(
        "ix_users_username_key_prefix",
        table_name="users",
        postgresql_ops={"username_key": "text_pattern_ops"},
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.drop_index(
        "ix_users_display_name_prefix",
        table_name="users",
        postgresql_ops={"display_name_lower": "text_pattern_ops"},
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.drop_table("users")
    op.drop_table("epochs")
