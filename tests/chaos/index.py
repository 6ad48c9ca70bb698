"""The run, arranged for looking things up."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator

from msgspec import Struct, field

from chatapp.protocol.ids import ChatId, MessageId, Seq, UserId
from tests.chaos.history import ChangeInvoked, Digest, FrameKind, Heard, MessageRow, Run, SendInvoked

BEFORE_ALL = Seq(-1)
BEYOND_ALL = Seq(2**63 - 1)


class ChatRows(Struct):
    """The rows of one chat, by either kind of position."""

    by_seq: dict[Seq, MessageRow] = field(default_factory=dict)
    by_change: dict[Seq, MessageRow] = field(default_factory=dict)
    seqs: list[Seq] = field(default_factory=list)
    changes: list[Seq] = field(default_factory=list)

    def sent_within(self, after: Seq, upto: Seq) -> Iterator[MessageRow]:
        """Rows with ``after < seq <= upto``, ascending."""
        for seq in self.seqs[bisect_right(self.seqs, after) : bisect_right(self.seqs, upto)]:
            yield self.by_seq[seq]

    def changed_within(self, after: Seq, upto: Seq) -> Iterator[MessageRow]:
        """Rows with ``after < changed_seq <= upto``, ascending by it."""
        for seq in self.changes[bisect_right(self.changes, after) : bisect_right(self.changes, upto)]:
            yield self.by_change[seq]


class Index(Struct):
    """Lookups over one run."""

    chats: dict[ChatId, ChatRows]
    written: dict[MessageId, set[Digest]]
    """Every content that the sender tried to give a message, the first and by edits."""
    absences: dict[tuple[ChatId, UserId], list[tuple[Seq, Seq]]]
    """Spans ``(low, high]`` of positions during which the user was certainly no member of the chat."""

    @classmethod
    def of(cls, run: Run) -> Index:
        """Built in one pass over everything."""
        chats = {chat_id: ChatRows() for chat_id in run.database.last_seqs}
        for row in run.database.messages:
            rows = chats.setdefault(row.chat_id, ChatRows())
            rows.by_seq.setdefault(row.seq, row)
            if row.changed_seq is not None:
                rows.by_change.setdefault(row.changed_seq, row)
        for rows in chats.values():
            rows.seqs = sorted(rows.by_seq)
            rows.changes = sorted(rows.by_change)
        return cls(chats, _written(run), _absences(run))

    def absent_at(self, chat_id: ChatId, user_id: UserId, position: Seq) -> tuple[Seq, Seq] | None:
        """The span of absence around the position; None where the user was, or may have been, a member."""
        spans = self.absences.get((chat_id, user_id))
        if spans is None:
            return BEFORE_ALL, BEYOND_ALL
        at = bisect_left(spans, (position, BEFORE_ALL)) - 1
        return spans[at] if at >= 0 and spans[at][0] < position <= spans[at][1] else None


def _written(run: Run) -> dict[MessageId, set[Digest]]:
    ids = {(row.sender_id, row.nonce): row.id for row in run.database.messages if row.nonce is not None}
    written: defaultdict[MessageId, set[Digest]] = defaultdict(set)
    for history in run.histories:
        for record in history.records:
            if isinstance(record, SendInvoked):
                message_id = ids.get((history.user_id, record.nonce))
                if message_id is not None:
                    written[message_id].add(record.content)
            elif isinstance(record, ChangeInvoked) and record.content is not None:
                written[record.message_id].add(record.content)
    return dict(written)


def _absences(run: Run) -> dict[tuple[ChatId, UserId], list[tuple[Seq, Seq]]]:
    exact = _exact_changes(run)
    spans: dict[tuple[ChatId, UserId], list[tuple[Seq, Seq]]] = {}
    since: dict[tuple[ChatId, UserId], Seq | None] = {}
    for change in run.membership:
        key = change.chat_id, change.user_id
        of_user = spans.setdefault(key, [])
        known = [
            position for position in exact.get((*key, change.member), ()) if change.earliest < position <= change.latest
        ]
        if not change.member:
            since[key] = known[0] if len(known) == 1 else change.latest
        else:
            low = since.get(key, BEFORE_ALL)
            high = Seq(known[0] - 1) if len(known) == 1 else change.earliest
            if low is not None and low < high:
                of_user.append((low, high))
            since[key] = None
    for key, low in since.items():
        if low is not None:
            spans[key].append((low, BEYOND_ALL))
    return spans


def _exact_changes(run: Run) -> dict[tuple[ChatId, UserId, bool], set[Seq]]:
    """Where somebody heard of the change, its position is known better than from the outside."""
    exact: defaultdict[tuple[ChatId, UserId, bool], set[Seq]] = defaultdict(set)
    for history in run.histories:
        for record in history.records:
            if isinstance(record, Heard) and record.subject is not None:
                added = record.frame is FrameKind.MEMBER_ADDED
                exact[record.chat_id, record.subject, added].add(record.position)
    return dict(exact)
