"""What has happened goes on the bus: encoded once, one payload for each topic of a commit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from chatapp.bus.port import Bus
from chatapp.protocol.envelope import Envelope, pack
from chatapp.protocol.ids import Seq, UserId
from chatapp.protocol.presence import Change, encode_changes
from chatapp.protocol.topics import CONTROL, PRESENCE, chat_topic, user_topic
from chatapp.protocol.views import Chat
from chatapp.services.rendering import joined, sent
from chatapp.storage.rows import Action, MessageRow
from chatapp.tracing import spans
from chatapp.tracing.port import Tracer
from chatapp.tracing.work import current_span


class Publisher:
    """Call it after the commit, in the order of the commits. Never waits, never raises."""

    def __init__(self, bus: Bus, tracer: Tracer | None = None) -> None:
        self._bus = bus
        self._tracer = tracer

    def in_chats(self, envelopes: Iterable[Envelope]) -> None:
        """To everybody who follows the envelopes' chats. Their order is kept within each chat."""
        if self._tracer is not None:
            envelopes = [self._traced(self._tracer, envelope) for envelope in envelopes]
        by_chat: defaultdict[int, list[Envelope]] = defaultdict(list)
        for envelope in envelopes:
            by_chat[envelope.chat_id].append(envelope)
        for group in by_chat.values():
            self._bus.publish(chat_topic(group[0].chat_id), pack(group))

    def rows(self, rows: Iterable[MessageRow]) -> None:
        """Rows that were just written, such as system rows."""
        self.in_chats([sent(row) for row in rows])

    def joined(self, chat: Chat, users: Iterable[tuple[UserId, Seq]]) -> None:
        """``new_chat`` to all connections of users who became members, each with the position of the joining.

        Everything at and after that position is theirs to hear.
        """
        for user_id, position in users:
            self._bus.publish(user_topic(user_id), pack([joined(chat, user_id, position)]))

    def added(self, chat: Chat, rows: Iterable[MessageRow]) -> None:
        """The system rows of an addition: to the chat, and ``new_chat`` to those who were added."""
        rows = list(rows)
        self.rows(rows)
        self.joined(
            chat,
            [(r.subject_id, r.seq) for r in rows if r.action is Action.MEMBER_ADDED and r.subject_id is not None],
        )

    def presence(self, changes: Sequence[Change]) -> None:
        """To every replica: who came online and who went offline."""
        self._bus.publish(PRESENCE, encode_changes(changes))

    def control(self, payload: bytes) -> None:
        """To every replica: an encoded revocation."""
        self._bus.publish(CONTROL, payload)

    def _traced(self, tracer: Tracer, envelope: Envelope) -> Envelope:
        """As a child of what caused it: its own trace (the send's, of a group), else what this task works for."""
        parent = envelope.trace or current_span()
        span = spans.publish(tracer, parent, envelope) if parent else None
        if span is None:
            return envelope
        span.end()  # the hand-over waits for nothing; how long the bus takes is the delivery's to show
        return replace(envelope, trace=span.context)
