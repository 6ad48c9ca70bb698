"""What was acked against the rows: kept once, whole, numbered without a hole, in the order of doing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from chatapp.protocol.ids import ChatId, MessageId, Seq, UserId
from tests.chaos.history import (
    ChangeAcked,
    ChangeInvoked,
    ChangeRefused,
    Database,
    Digest,
    MessageRow,
    Run,
    SendAcked,
    SendInvoked,
    SendRefused,
)
from tests.chaos.index import ChatRows, Index
from tests.chaos.violations import Fault, Violation

Nonce = tuple[UserId | None, str]


def check_storage(run: Run, index: Index) -> Iterator[Violation]:
    """All violations that the rows, the acks and the changes show."""
    yield from _sends(run)
    yield from _changes(run)
    yield from _real_time_order(run)
    yield from _numbering(run, index)


def _sends(run: Run) -> Iterator[Violation]:
    rows, doubled = _rows_by_nonce(run.database)
    yield from doubled
    invoked: dict[Nonce, SendInvoked] = {}
    for history in run.histories:
        for record in history.records:
            if isinstance(record, SendInvoked):
                invoked[history.user_id, record.nonce] = record
    for history in run.histories:
        for record in history.records:
            if isinstance(record, SendAcked):
                row = rows.get((history.user_id, record.nonce))
                if row is None:
                    yield Violation(Fault.LOST, record.chat_id, f"acked message {record.message_id} is not there")
                elif (row.id, row.seq, row.chat_id) != (record.message_id, record.seq, record.chat_id):
                    ack = f"acked as message {record.message_id} at {record.seq}"
                    yield Violation(Fault.DOUBLED, record.chat_id, f"{ack}, kept as {row.id} at {row.seq}")
            elif isinstance(record, SendRefused):
                yield from _refused(record, invoked.get((history.user_id, record.nonce)), rows, history.user_id)
    for nonce, row in rows.items():
        if nonce not in invoked:
            yield Violation(Fault.PHANTOM, row.chat_id, f"message {row.id} was written by nobody")


def _refused(
    refusal: SendRefused, send: SendInvoked | None, rows: dict[Nonce, MessageRow], user_id: UserId
) -> Iterator[Violation]:
    chat_id = send.chat_id if send else None
    if refusal.code == "nonce_reused":
        yield Violation(Fault.ALTERED, chat_id, f"nonce {refusal.nonce} was said to be another message's")
    if refusal.attempts == 1 and (user_id, refusal.nonce) in rows:
        yield Violation(Fault.PHANTOM, chat_id, f"nonce {refusal.nonce} was refused ({refusal.code}), yet kept")


def _rows_by_nonce(database: Database) -> tuple[dict[Nonce, MessageRow], list[Violation]]:
    rows: dict[Nonce, MessageRow] = {}
    contents: dict[tuple[UserId | None, Digest], MessageRow] = {}
    doubled: list[Violation] = []
    for row in database.messages:
        if row.kind != "text":
            continue
        first = row if row.deleted else contents.setdefault((row.sender_id, row.content), row)
        if row.nonce is not None:
            by_nonce = rows.setdefault((row.sender_id, row.nonce), row)
            first = by_nonce if first is row else first
        if first is not row:
            doubled.append(Violation(Fault.DOUBLED, row.chat_id, f"messages {first.id} and {row.id} are the same"))
    return rows, doubled


def _changes(run: Run) -> Iterator[Violation]:
    """An acked change is the last state, unless one that came after it, or one of unknown end, is."""
    original: dict[Nonce, Digest] = {}
    changes: defaultdict[MessageId, list[ChangeInvoked]] = defaultdict(list)
    acked: set[str] = set()
    refused: set[str] = set()
    for history in run.histories:
        for record in history.records:
            if isinstance(record, SendInvoked):
                original[history.user_id, record.nonce] = record.content
            elif isinstance(record, ChangeInvoked):
                changes[record.message_id].append(record)
            elif isinstance(record, ChangeAcked):
                acked.add(record.ref)
            elif isinstance(record, ChangeRefused):
                refused.add(record.ref)
    for row in run.database.messages:
        if row.kind == "text" and row.nonce is not None:
            of_row = sorted(changes.get(row.id, ()), key=lambda change: change.at)
            yield from _final_state(row, of_row, original.get((row.sender_id, row.nonce)), acked, refused)


def _final_state(
    row: MessageRow, changes: list[ChangeInvoked], first: Digest | None, acked: set[str], refused: set[str]
) -> Iterator[Violation]:
    possible: set[Digest | None] = {first}
    gone = False
    for change in changes:
        if change.ref in acked:
            unsure = {other.content for other in changes if other.ref not in acked and other.ref not in refused}
            possible = {change.content, *unsure}
            gone = gone or change.content is None
        elif change.ref not in refused:
            possible.add(change.content)
    state = None if row.deleted else row.content
    if gone and not row.deleted:
        yield Violation(Fault.LOST, row.chat_id, f"the acked deletion of message {row.id} is not there")
    elif state not in possible and not (gone and row.deleted):
        kind = Fault.LOST if changes else Fault.ALTERED
        yield Violation(kind, row.chat_id, f"message {row.id} is not in the state of its last acked change")


def _real_time_order(run: Run) -> Iterator[Violation]:
    """What was sent after another message of the chat had been acked, to anyone, stands after it."""
    moments = [
        record for history in run.histories for record in history.records if isinstance(record, SendInvoked | SendAcked)
    ]
    # At the same instant, what was invoked is taken as earlier: nothing is concluded from it.
    moments.sort(key=lambda record: (record.at, isinstance(record, SendAcked)))
    highest: defaultdict[ChatId, Seq] = defaultdict(lambda: Seq(0))
    floors: dict[tuple[ChatId, str], Seq] = {}
    for record in moments:
        key = record.chat_id, record.nonce
        if isinstance(record, SendInvoked):
            floors[key] = highest[record.chat_id]
            continue
        if record.seq <= floors.get(key, Seq(0)):
            detail = f"message {record.message_id} at {record.seq} was sent after {floors[key]} had been acked"
            yield Violation(Fault.REORDERED, record.chat_id, detail)
        highest[record.chat_id] = max(highest[record.chat_id], record.seq)


def _numbering(run: Run, index: Index) -> Iterator[Violation]:
    uses: defaultdict[ChatId, list[Seq]] = defaultdict(list)
    for row in run.database.messages:
        uses[row.chat_id].append(row.seq)
        if row.changed_seq is not None:
            uses[row.chat_id].append(row.changed_seq)
            if row.changed_seq <= row.seq:
                yield Violation(Fault.NUMBERING, row.chat_id, f"message {row.id} changed before it was sent")
    tried: defaultdict[ChatId, int] = defaultdict(int)
    for history in run.histories:
        for record in history.records:
            if isinstance(record, ChangeInvoked):
                tried[record.chat_id] += 1
    for chat_id, last_seq in run.database.last_seqs.items():
        used = uses[chat_id]
        if len(set(used)) != len(used):
            twice = sorted(seq for seq, count in Counter(used).items() if count > 1)[:5]
            yield Violation(Fault.NUMBERING, chat_id, f"positions used twice: {twice}")
        if used and (max(used) > last_seq or min(used) < 1):
            yield Violation(Fault.NUMBERING, chat_id, f"positions {min(used)}..{max(used)}, last_seq is {last_seq}")
        # A change that was changed again leaves its number behind; nothing else may.
        holes = last_seq - len(set(used))
        superseded = max(0, tried[chat_id] - len(_changed(index, chat_id)))
        if holes > superseded:
            yield Violation(Fault.NUMBERING, chat_id, f"{holes} positions carry nothing, {superseded} could")


def _changed(index: Index, chat_id: ChatId) -> list[Seq]:
    return index.chats.get(chat_id, ChatRows()).changes
