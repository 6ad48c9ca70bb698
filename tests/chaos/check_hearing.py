"""What each client heard against the rows: all of it, once, in order, with its content, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct, field

from chatapp.protocol.ids import ChatId, MessageId, Seq
from tests.chaos.history import (
    ClientHistory,
    Closed,
    Digest,
    FrameKind,
    Heard,
    JoinAcked,
    JoinRefused,
    JoinSent,
    MessageRow,
    Opened,
    Reread,
    Run,
)
from tests.chaos.index import ChatRows, Index
from tests.chaos.violations import Fault, Violation

_DELETED = None
Told = dict[tuple[ChatId, Seq, FrameKind], Digest | MessageId | None]


def check_hearing(run: Run, index: Index) -> Iterator[Violation]:
    """All violations that what was heard shows."""
    told: Told = {}
    for history in run.histories:
        listener = _Listener(history, index, told)
        yield from listener.listen()
        for chat_id, user_id in sorted(run.database.members) if not history.live_only else ():
            if user_id == history.user_id and chat_id in listener.follows:
                yield from listener.final_state(chat_id)


class _Follow(Struct):
    """One chat, as this client has it."""

    connection: int = 0
    """The connection on which the chat is followed; 0: on none."""
    replaying: bool = False
    after: Seq = Seq(0)
    position: Seq = Seq(0)
    """The highest that was heard."""
    frames: set[FrameKind] = field(default_factory=set)
    """Those heard at ``position``."""
    replayed: set[Seq] = field(default_factory=set)
    """Positions heard in the replay."""
    known: dict[Seq, Digest | None] = field(default_factory=dict)
    """The content of each message after all that was heard; None: deleted."""


class _Listener:
    def __init__(self, history: ClientHistory, index: Index, told: Told) -> None:
        self._history = history
        self._index = index
        self._told = told
        self.follows: dict[ChatId, _Follow] = {}

    def listen(self) -> Iterator[Violation]:
        for record in self._history.records:
            match record:
                case Opened() | Closed():
                    for follow in self.follows.values():
                        follow.connection = 0
                case JoinSent():
                    follow = self.follows.setdefault(record.chat_id, _Follow())
                    yield from self._skips(follow, record)
                    follow.connection, follow.replaying = record.connection, True
                    follow.after = follow.position = record.after
                    follow.frames, follow.replayed = set(), set()
                case JoinAcked():
                    yield from self._replayed(record)
                case JoinRefused():
                    yield from self._refused(record)
                case Reread():
                    follow = self.follows.setdefault(record.chat_id, _Follow())
                    follow.known, follow.position = dict(record.rows), max(follow.position, record.upto)
                case Heard():
                    yield from self._heard(record)
                case _:
                    pass

    def _skips(self, follow: _Follow, join: JoinSent) -> Iterator[Violation]:
        """Nobody goes on further than they were and leaves something out.

        A replay may have been acked beyond its last frame: positions of changes that later ones replaced have none.
        """
        if self._history.live_only or join.after <= follow.position:
            return
        rows = self._index.chats.get(join.chat_id, ChatRows())
        unheard = [row.seq for row in rows.sent_within(follow.position, join.after) if not row.deleted]
        unheard += [
            row.changed_seq
            for row in rows.changed_within(follow.position, join.after)
            if row.changed_seq is not None and not _is_current(follow, row)
        ]
        if unheard:
            where = f"was at {follow.position} and goes on after {join.after}, without {sorted(unheard)}"
            yield Violation(Fault.LOST, join.chat_id, f"{self._history.client} {where}")

    def _heard(self, heard: Heard) -> Iterator[Violation]:
        follow = self.follows.get(heard.chat_id)
        if follow is None or follow.connection != heard.connection:
            yield self._violation(Fault.LEAKED, heard, "was not followed")
            return
        yield from self._content(heard)
        if not follow.replaying:
            yield from self._live(follow, heard)
        yield from self._ascending(follow, heard)
        if follow.replaying:
            follow.replayed.add(heard.position)
        if heard.frame is FrameKind.DELETED:
            follow.known[heard.seq] = _DELETED
        elif heard.frame in (FrameKind.MESSAGE, FrameKind.UPDATED):
            follow.known[heard.seq] = heard.content
        else:
            follow.known.setdefault(heard.seq, _DELETED)
        if heard.frame is FrameKind.MEMBER_REMOVED and heard.subject == self._history.user_id and not follow.replaying:
            follow.connection = 0

    def _live(self, follow: _Follow, heard: Heard) -> Iterator[Violation]:
        absence = self._index.absent_at(heard.chat_id, self._history.user_id, heard.position)
        if absence is not None:
            yield self._violation(Fault.LEAKED, heard, f"no member in {absence}")
        yield from self._skipped(follow, heard)

    def _skipped(self, follow: _Follow, heard: Heard) -> Iterator[Violation]:
        """A number that no row carries any more has no frame; a deleted message is told of as its deletion."""
        rows = self._index.chats.get(heard.chat_id, ChatRows())
        upto = Seq(heard.position - 1)
        for row in rows.sent_within(follow.position, upto):
            if not row.deleted:
                yield self._violation(Fault.LOST, heard, f"came without {row.seq} before it")
        for row in rows.changed_within(follow.position, upto):
            if not _is_current(follow, row):
                yield self._violation(Fault.LOST, heard, f"came without the change {row.changed_seq} before it")

    def _ascending(self, follow: _Follow, heard: Heard) -> Iterator[Violation]:
        """In a replay as live; only the frames of one system row share a position."""
        beside = heard.frame.is_system and follow.frames and heard.frame not in follow.frames
        if heard.position < follow.position or (heard.position == follow.position and not beside):
            repeated = heard.position in (follow.position, follow.after) or heard.position in follow.replayed
            fault = Fault.DOUBLED if repeated else Fault.REORDERED
            yield self._violation(fault, heard, f"came after {follow.position}")
        if heard.position > follow.position:
            follow.position, follow.frames = heard.position, set()
        follow.frames.add(heard.frame)

    def _replayed(self, ack: JoinAcked) -> Iterator[Violation]:
        """The replay is over: everything up to the ack's position must have been in it."""
        follow = self.follows.get(ack.chat_id)
        if follow is None or follow.connection != ack.connection or not follow.replaying:
            return
        who = self._history.client
        rows = self._index.chats.get(ack.chat_id, ChatRows())
        if follow.position > max(ack.seq, follow.after):
            detail = f"{who} was replayed beyond the {ack.seq} of the ack"
            yield Violation(Fault.REORDERED, ack.chat_id, detail)
        for row in rows.sent_within(follow.after, ack.seq):
            if not row.deleted and row.seq not in follow.replayed:
                detail = f"{who} was replayed {follow.after}..{ack.seq} without {row.seq}"
                yield Violation(Fault.LOST, ack.chat_id, detail)
        for row in rows.changed_within(follow.after, ack.seq):
            if row.changed_seq not in follow.replayed and not _is_current(follow, row):
                detail = f"{who} was replayed {follow.after}..{ack.seq} without the change {row.changed_seq}"
                yield Violation(Fault.LOST, ack.chat_id, detail)
        yield from self._replayed_outside(follow, ack)
        follow.replaying, follow.frames = False, set()
        follow.position = max(ack.seq, follow.after)

    def _replayed_outside(self, follow: _Follow, ack: JoinAcked) -> Iterator[Violation]:
        """Who is no member is replayed nothing; who is one again is replayed also what came in between."""
        absence = self._index.absent_at(ack.chat_id, self._history.user_id, ack.seq)
        if absence is not None and any(position > absence[0] for position in follow.replayed):
            detail = f"{self._history.client} was replayed up to {ack.seq}, no member in {absence}"
            yield Violation(Fault.LEAKED, ack.chat_id, detail)

    def _refused(self, refusal: JoinRefused) -> Iterator[Violation]:
        follow = self.follows.get(refusal.chat_id)
        if follow is None or follow.connection != refusal.connection:
            return
        if refusal.code == "not_a_member" and follow.replaying and follow.replayed:
            detail = f"{self._history.client} heard {len(follow.replayed)} frames of a join that was refused"
            yield Violation(Fault.LEAKED, refusal.chat_id, detail)
        follow.connection = 0

    def _content(self, heard: Heard) -> Iterator[Violation]:
        """What everybody hears at one position is the same, and was written."""
        row = self._index.chats.get(heard.chat_id, ChatRows()).by_seq.get(heard.seq)
        if row is None:
            yield self._violation(Fault.PHANTOM, heard, "is of no row")
            return
        if heard.message_id is not None and heard.message_id != row.id:
            yield self._violation(Fault.ALTERED, heard, f"is message {heard.message_id}, kept is {row.id}")
        tells_content = heard.frame in (FrameKind.MESSAGE, FrameKind.UPDATED) and row.kind == "text"
        if tells_content and heard.content not in self._index.written.get(row.id, ()):
            yield self._violation(Fault.ALTERED, heard, "has a content that nobody wrote")
        if heard.frame is not FrameKind.MESSAGE:  # which is replayed in its newest state
            key = heard.chat_id, heard.position, heard.frame
            if self._told.setdefault(key, heard.content) != heard.content:
                yield self._violation(Fault.ALTERED, heard, "was told otherwise to others")

    def final_state(self, chat_id: ChatId) -> Iterator[Violation]:
        """What was heard, folded together, is what the rows say."""
        follow = self.follows[chat_id]
        known = follow.known
        for row in self._index.chats.get(chat_id, ChatRows()).by_seq.values():
            if row.seq not in known:
                if not row.deleted:
                    yield Violation(Fault.LOST, chat_id, f"{self._history.client} never heard {row.seq}")
            elif row.kind == "text" and known[row.seq] != (_DELETED if row.deleted else row.content):
                detail = f"{self._history.client} has another state of {row.seq} than is kept"
                yield Violation(Fault.LOST, chat_id, detail)

    def _violation(self, fault: Fault, heard: Heard, detail: str) -> Violation:
        where = f"{self._history.client}, connection {heard.connection}"
        return Violation(fault, heard.chat_id, f"{where}: {heard.frame} at {heard.position} {detail}")


def _is_current(follow: _Follow, row: MessageRow) -> bool:
    """The client has the row's newest state already, by a message frame that was sent late."""
    if row.kind != "text":
        return row.seq in follow.known
    return row.seq in follow.known and follow.known[row.seq] == (_DELETED if row.deleted else row.content)
