"""What each client did and saw during a run, and the rows that were there at its end. Types only.

Every client keeps a list of its own records, in the order of its seeing them. Times are seconds of one monotonic
clock, shared by all clients of the run. Contents are kept as 64-bit digests, so that a long run stays small.
"""

from __future__ import annotations

from enum import StrEnum
from hashlib import blake2b

from msgspec import Struct, field

from chatapp.protocol.ids import ChatId, MessageId, Seq, UserId

Digest = int
ClientName = str


def digest(content: str) -> Digest:
    """Stands for a content; two contents of a run have the same one with a chance of about 2**-64."""
    return int.from_bytes(blake2b(content.encode(), digest_size=8).digest(), "big")


class FrameKind(StrEnum):
    """The frames that have a position in a chat."""

    MESSAGE = "message"
    UPDATED = "message_updated"
    DELETED = "message_deleted"
    SYSTEM = "system"
    CHAT_UPDATED = "chat_updated"
    MEMBER_ADDED = "member_added"
    MEMBER_REMOVED = "member_removed"

    @property
    def is_change(self) -> bool:
        """It tells of an earlier message; its position is the ``changed_seq``."""
        return self in (FrameKind.UPDATED, FrameKind.DELETED)

    @property
    def is_system(self) -> bool:
        """Several frames of these kinds may tell of one row, and so share its position."""
        return not self.is_change and self is not FrameKind.MESSAGE


class _Record(Struct, frozen=True, gc=False):
    at: float


# -- what a client did ---------------------------------------------------------------------------------------------


class SendInvoked(_Record, frozen=True, gc=False, tag=True):
    """A new message, before its first byte leaves. What is never acked nor refused afterwards has an unknown end."""

    chat_id: ChatId
    nonce: str
    content: Digest


class SendAcked(_Record, frozen=True, gc=False, tag=True):
    """The service promised to keep it. A retry may be acked again, and must be with the same ids."""

    chat_id: ChatId
    nonce: str
    message_id: MessageId
    seq: Seq


class SendRefused(_Record, frozen=True, gc=False, tag=True):
    """Failed for good. With more than one attempt, an earlier one may have been kept all the same."""

    nonce: str
    code: str
    attempts: int


class ChangeInvoked(_Record, frozen=True, gc=False, tag=True):
    """An edit, or a deletion (``content`` None), tried once. ``ref`` is unique in the run."""

    ref: str
    chat_id: ChatId
    message_id: MessageId
    content: Digest | None


class ChangeAcked(_Record, frozen=True, gc=False, tag=True):
    """The service promised to keep the change."""

    ref: str


class ChangeRefused(_Record, frozen=True, gc=False, tag=True):
    """Not done, and it will not be."""

    ref: str
    code: str


# -- what a client saw ---------------------------------------------------------------------------------------------


class Opened(_Record, frozen=True, tag=True):
    """A connection is ready. ``connection`` counts those of this client; ``positions`` is where it stands."""

    connection: int
    replica: int
    epoch: str
    positions: dict[ChatId, Seq]


class Closed(_Record, frozen=True, gc=False, tag=True):
    """It ended. ``code`` is None where no close frame came."""

    connection: int
    code: int | None


class JoinSent(_Record, frozen=True, gc=False, tag=True):
    """From here to its ack, what is heard of the chat is the replay of what came after ``after``, ascending."""

    connection: int
    chat_id: ChatId
    after: Seq


class JoinAcked(_Record, frozen=True, gc=False, tag=True):
    """The replay is over; what follows is live. ``seq`` is where the chat stood."""

    connection: int
    chat_id: ChatId
    seq: Seq


class JoinRefused(_Record, frozen=True, gc=False, tag=True):
    """The chat is not followed."""

    connection: int
    chat_id: ChatId
    code: str


class Heard(_Record, frozen=True, gc=False, tag=True):
    """A frame with a position: ``changed_seq`` where it has one, else ``seq``.

    ``seq`` and ``message_id`` are those of the row that it tells of; system frames bring no id. ``subject`` is the user
    that a member frame tells of.
    """

    connection: int
    chat_id: ChatId
    position: Seq
    seq: Seq
    frame: FrameKind
    message_id: MessageId | None = None
    content: Digest | None = None
    subject: UserId | None = None


class ResyncTold(_Record, frozen=True, gc=False, tag=True):
    """Too far behind for a replay: everything is read again over REST."""

    connection: int
    chat_id: ChatId


class Reread(_Record, frozen=True, tag=True):
    """The whole chat, read over REST after its ``last_seq`` was ``upto``: the digest of each row by its ``seq``.

    Rows that are deleted are left out.
    """

    chat_id: ChatId
    upto: Seq
    rows: dict[Seq, Digest]


Record = (
    SendInvoked
    | SendAcked
    | SendRefused
    | ChangeInvoked
    | ChangeAcked
    | ChangeRefused
    | Opened
    | Closed
    | JoinSent
    | JoinAcked
    | JoinRefused
    | Heard
    | ResyncTold
    | Reread
)


class ClientHistory(Struct):
    """One client's records. One user may run several clients."""

    client: ClientName
    user_id: UserId
    live_only: bool = False
    """It follows all chats from where they stand when it connects, and asks for nothing of what was before."""
    records: list[Record] = field(default_factory=list)


# -- what the run's own hand did, and the end ------------------------------------------------------------------------


class MembershipChanged(Struct, frozen=True):
    """Somebody was added or removed at a position after ``earliest`` and up to ``latest``."""

    chat_id: ChatId
    user_id: UserId
    member: bool
    earliest: Seq
    latest: Seq


class MessageRow(Struct, frozen=True):
    """One row of ``messages``; ``changed_seq`` is None where nothing changed."""

    id: MessageId
    chat_id: ChatId
    seq: Seq
    changed_seq: Seq | None
    sender_id: UserId | None
    kind: str
    content: Digest
    nonce: str | None
    deleted: bool


class Database(Struct, frozen=True):
    """What PostgreSQL holds after the run."""

    messages: list[MessageRow]
    last_seqs: dict[ChatId, Seq]
    members: set[tuple[ChatId, UserId]]


class Run(Struct, frozen=True):
    """Everything that the checker looks at."""

    histories: list[ClientHistory]
    membership: list[MembershipChanged]
    database: Database
