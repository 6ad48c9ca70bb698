"""System rows: the lasting things that happen to chats, in one order with their messages."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from chatapp.protocol.ids import ChatId, Seq, UserId
from chatapp.storage.rows import Action, MessageRow

_TAKE_POSITIONS = text(
    """
    UPDATE chats SET last_seq = last_seq + n.rows, updated_at = clock_timestamp()
    FROM unnest(CAST(:chat_ids AS bigint[]), CAST(:counts AS bigint[])) AS n (id, rows) WHERE chats.id = n.id
    RETURNING chats.id, chats.last_seq, chats.updated_at
    """
)
_INSERT = text(
    """
    INSERT INTO messages
        (chat_id, seq, sender_id, kind, content, action, subject_id, detail, created_at, updated_at)
    SELECT n.chat_id, n.seq, :sender_id, 'system', n.content, n.action, n.subject_id, n.detail, n.at, n.at
    FROM unnest(CAST(:chat_ids AS bigint[]), CAST(:seqs AS bigint[]), CAST(:contents AS text[]),
        CAST(:actions AS smallint[]), CAST(:subjects AS bigint[]), CAST(:details AS text[]),
        CAST(:times AS timestamptz[])) AS n (chat_id, seq, content, action, subject_id, detail, at)
    RETURNING id, chat_id, seq
    """
)


class Happening(Struct, frozen=True):
    """A system row that is to be written."""

    chat_id: ChatId
    action: Action
    content: str
    """The sentence for people."""
    subject_id: UserId | None
    detail: str
    """The subject's name, or the chat's new name."""


async def append(
    connection: AsyncConnection, actor_id: UserId, actor_name: str, happenings: Sequence[Happening]
) -> list[MessageRow]:
    """Write them, each at the next position of its chat, in their order. The chats exist and are locked."""
    if not happenings:
        return []
    counts = Counter(happening.chat_id for happening in happenings)
    taken = (
        await connection.execute(_TAKE_POSITIONS, {"chat_ids": list(counts), "counts": list(counts.values())})
    ).all()
    times: dict[ChatId, datetime] = {row.id: row.updated_at for row in taken}
    next_seq: defaultdict[ChatId, int] = defaultdict(int)
    next_seq.update({row.id: row.last_seq - counts[row.id] + 1 for row in taken})
    placed: list[tuple[Happening, Seq]] = []
    for happening in happenings:
        placed.append((happening, Seq(next_seq[happening.chat_id])))
        next_seq[happening.chat_id] += 1
    values = {
        "sender_id": actor_id,
        "chat_ids": [happening.chat_id for happening in happenings],
        "seqs": [seq for _, seq in placed],
        "contents": [happening.content for happening in happenings],
        "actions": [int(happening.action) for happening in happenings],
        "subjects": [happening.subject_id for happening in happenings],
        "details": [happening.detail for happening in happenings],
        "times": [times[happening.chat_id] for happening in happenings],
    }
    ids = {(row.chat_id, row.seq): row.id for row in (await connection.execute(_INSERT, values)).all()}
    return [
        MessageRow(
            id=ids[happening.chat_id, seq],
            chat_id=happening.chat_id,
            seq=seq,
            kind="system",
            content=happening.content,
            created_at=times[happening.chat_id],
            updated_at=times[happening.chat_id],
            sender_id=actor_id,
            username=actor_name,
            action=happening.action,
            subject_id=happening.subject_id,
            detail=happening.detail,
        )
        for happening, seq in placed
    ]
