"""``append_messages`` again: the same outcomes, by plans that are made once and do not depend on statistics.

Replaces the function alone: replicas of the version before go on beside it.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

from alembic import context, op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


# One round trip for a group of messages. The chats are locked first, in the order of their ids, by a statement of its
# own: under READ COMMITTED the statement after it sees members, nonces and numbers as they are once the locks are held.
# Without p_wait a chat that somebody else has locked is left alone, so that it cannot hold up the others.
# Outcomes: 0 stored, 1 the same was stored before (nonce), 2 the nonce belongs to another message, 3 not a member,
# 4 the chat is locked by somebody else.
#
# A plan that depends on how many messages are in a group is made anew for every small group, which takes longer than
# to run it: plan_cache_mode. So it is made once, for any group, perhaps while the tables are empty, and has to be
# right when they are not. Each lookup is written so that there is only one way to do it:
# - LATERAL with OFFSET 0 (or FOR UPDATE, or LIMIT), which is not merged into the query around it: its condition cannot
#   become the filter of a join, which would read the whole table.
# - a member is the first at or after (user, chat) in the primary key's order: the other index begins with the chat, and
#   by equality could be taken while the tables are small, to read all members of a chat for each message later.
# - = ANY (ARRAY[…]) instead of = in the UPDATE, for what cannot be merged or hashed can only be looked up.
# Ids are taken before the insertion, so that nothing has to be joined with what it returns.
APPEND_MESSAGES = """
CREATE OR REPLACE FUNCTION append_messages(
  p_sender bigint[], p_chat bigint[], p_content text[], p_nonce text[], p_wait boolean
)
RETURNS TABLE (ord bigint, outcome integer, message_id bigint, seq bigint, created_at timestamptz, username text)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
  v_ids regclass := pg_get_serial_sequence('messages', 'id');
  v_now timestamptz;
  v_locked bigint[];
BEGIN
  IF p_wait THEN
    v_locked := ARRAY(
      SELECT locked.id FROM (SELECT DISTINCT a.id FROM unnest(p_chat) AS a (id) ORDER BY a.id) asked
      CROSS JOIN LATERAL (SELECT c.id FROM chats c WHERE c.id = asked.id FOR NO KEY UPDATE) locked
    );
  ELSE
    v_locked := ARRAY(
      SELECT locked.id FROM (SELECT DISTINCT a.id FROM unnest(p_chat) AS a (id) ORDER BY a.id) asked
      CROSS JOIN LATERAL (SELECT c.id FROM chats c WHERE c.id = asked.id FOR NO KEY UPDATE SKIP LOCKED) locked
    );
  END IF;
  v_now := clock_timestamp();
  RETURN QUERY
  WITH judged AS (
    SELECT r.n, r.sender_id, r.chat_id, r.content, r.nonce, sender.username, chat.last_seq,
           earlier.id AS earlier_id, earlier.seq AS earlier_seq, earlier.created_at AS earlier_at,
           earlier.chat_id = r.chat_id
             AND (earlier.nonce_digest IS NULL OR earlier.nonce_digest = md5(r.content)::uuid) AS is_same,
           (member.user_id, member.chat_id) = (r.sender_id, r.chat_id) AS is_member,
           r.chat_id = ANY (v_locked) AS is_locked
    FROM unnest(p_sender, p_chat, p_content, p_nonce) WITH ORDINALITY AS r (sender_id, chat_id, content, nonce, n)
    LEFT JOIN LATERAL (SELECT u.username FROM users u WHERE u.id = r.sender_id OFFSET 0) sender ON true
    LEFT JOIN LATERAL (SELECT c.last_seq FROM chats c WHERE c.id = r.chat_id OFFSET 0) chat ON true
    LEFT JOIN LATERAL (
      SELECT m.user_id, m.chat_id FROM chat_members m WHERE (m.user_id, m.chat_id) >= (r.sender_id, r.chat_id)
      ORDER BY m.user_id, m.chat_id LIMIT 1
    ) member ON true
    LEFT JOIN LATERAL (
      SELECT e.id, e.chat_id, e.seq, e.nonce_digest, e.created_at FROM messages e
      WHERE e.sender_id = r.sender_id AND e.nonce = r.nonce OFFSET 0
    ) earlier ON true
  ), numbered AS (
    SELECT f.*, CASE WHEN f.is_new THEN nextval(v_ids) END AS new_id
    FROM (
      SELECT j.*, coalesce(j.is_member AND j.is_locked AND j.earlier_id IS NULL, false) AS is_new,
             j.last_seq + count(*) FILTER (WHERE j.is_member AND j.is_locked AND j.earlier_id IS NULL)
               OVER (PARTITION BY j.chat_id ORDER BY j.n) AS new_seq
      FROM judged j
      ORDER BY j.n
    ) f
  ), stored AS (
    INSERT INTO messages (id, chat_id, seq, sender_id, kind, content, nonce, nonce_digest, created_at, updated_at)
    SELECT s.new_id, s.chat_id, s.new_seq, s.sender_id, 'text', s.content, s.nonce,
           CASE WHEN s.nonce IS NOT NULL THEN md5(s.content)::uuid END, v_now, v_now
    FROM numbered s WHERE s.is_new
  ), counted AS (
    UPDATE chats c SET last_seq = t.top, updated_at = v_now
    FROM (SELECT s.chat_id, max(s.new_seq) AS top FROM numbered s WHERE s.is_new GROUP BY s.chat_id) t
    WHERE c.id = ANY (ARRAY[t.chat_id])
  )
  SELECT s.n,
         CASE WHEN s.is_new THEN 0
              WHEN s.earlier_id IS NOT NULL THEN CASE WHEN s.is_same THEN 1 ELSE 2 END
              WHEN s.is_member AND NOT s.is_locked THEN 4
              ELSE 3 END,
         coalesce(s.new_id, s.earlier_id), CASE WHEN s.is_new THEN s.new_seq ELSE s.earlier_seq END,
         CASE WHEN s.is_new THEN v_now ELSE s.earlier_at END, s.username
  FROM numbered s
  ORDER BY s.n;
END
$$
"""


def upgrade() -> None:
    op.execute(APPEND_MESSAGES)


def downgrade() -> None:
    op.execute("DROP FUNCTION append_messages(bigint[], bigint[], text[], text[], boolean)")
    op.execute(context.script.get_revision("0001").module.APPEND_MESSAGES)
