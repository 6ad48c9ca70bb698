"""Messages: send, edit, delete, read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from chatapp.auth.principal import Principal
from chatapp.errors import MessageNotFound, NotAMember
from chatapp.protocol.envelope import Envelope
from chatapp.protocol.ids import ChatId, MessageId, Seq
from chatapp.protocol.text import check_content
from chatapp.protocol.views import Message
from chatapp.services import audit
from chatapp.services.publisher import Publisher
from chatapp.services.rendering import changed, sent
from chatapp.storage import messages as statements
from chatapp.storage.audit import Details
from chatapp.storage.engine import Database
from chatapp.storage.rows import MessageRow
from chatapp.storage.standby import Standby
from chatapp.storage.writer import Answer, Append, Appended
from chatapp.tracing.port import Span

if TYPE_CHECKING:
    from chatapp.storage.writer import MessageWriter


class Sent(Struct, frozen=True):
    """A message that is on disk. ``repeated``: the nonce had been used for the very same one before."""

    message: Message
    repeated: bool


class Messages:
    """Everything raises ``Unavailable`` while PostgreSQL is away; a retry with the same nonce is safe."""

    def __init__(
        self,
        database: Database,
        writer: MessageWriter,
        publisher: Publisher,
        content_bytes: int,
        standby: Standby | None = None,
    ) -> None:
        self._database = database
        self._writer = writer
        self._publisher = publisher
        self._content_bytes = content_bytes
        self._standby = standby

    def submit(
        self,
        actor: Principal,
        chat_id: ChatId,
        content: str,
        nonce: str | None,
        answer: Answer,
        span: Span | None = None,
    ) -> None:
        """Hand a message to the writer; ``answer`` is called once it is on disk, or with the reason why it is not.

        Messages of one caller keep the order of the calls. Raises ``ValidationFailed`` or ``Overloaded`` at once; the
        answer may be ``NotAMember``, ``NonceReused`` or ``Unavailable``.
        """
        check_content(content, self._content_bytes)
        self._writer.submit(actor.user_id, chat_id, content, nonce, answer, span)

    async def send(self, actor: Principal, chat_id: ChatId, content: str, nonce: str | None = None) -> Sent:
        """As ``submit``, with the whole message as the answer."""
        check_content(content, self._content_bytes)
        appended = await self._writer.append(actor.user_id, chat_id, content, nonce)
        if appended.repeated:
            message = await statements.get(self._database, appended.message_id, include_deleted=True)
            if message is None:
                raise MessageNotFound
            return Sent(message, repeated=True)
        return Sent(
            Message(
                id=appended.message_id,
                chat_id=chat_id,
                seq=appended.seq,
                content=content,
                sender_id=actor.user_id,
                kind="text",
                is_edited=False,
                created_at=appended.created_at,
                updated_at=appended.created_at,
            ),
            repeated=False,
        )

    async def get(self, actor: Principal, message_id: MessageId) -> Message:
        """One message with its sender. Raises ``MessageNotFound``, or ``NotAMember`` of its chat."""
        message, is_member = await statements.get_for(self._database, message_id, actor.user_id)
        if message is None:
            raise MessageNotFound
        if not is_member:
            raise NotAMember
        return message

    async def history(
        self, actor: Principal, chat_id: ChatId, *, limit: int, offset: int, before: Seq | None, after: Seq | None
    ) -> list[Message]:
        """A page of a chat with senders: newest first, or oldest first with ``after``. Raises ``NotAMember``."""
        if self._standby is not None:
            page = await self._standby.history(
                chat_id, actor.user_id, limit=limit, offset=offset, before=before, after=after
            )
            if page is not None:
                return page
        page = await statements.history(
            self._database, chat_id, actor.user_id, limit=limit, offset=offset, before=before, after=after
        )
        if page is None:
            raise NotAMember
        return page

    async def between(
        self, chat_id: ChatId, *, start: Seq, after: Seq, upto: Seq, limit: int
    ) -> tuple[list[Envelope], Seq]:
        """What a follower at position ``start`` missed between ``after`` and ``upto``, at most ``limit`` events.

        With the position up to which that is everything. Who may hear it is the caller's to know.
        """
        rows = await statements.between(self._database, chat_id, start=start, after=after, upto=upto, limit=limit)
        envelopes = [changed(row) if is_change else sent(row) for row, is_change in rows]
        return envelopes, upto if len(envelopes) < limit else envelopes[-1].position

    async def edit(self, actor: Principal, message_id: MessageId, content: str) -> MessageRow:
        """New content, told to everyone. The row carries the new ``changed_seq``.

        Raises ``MessageNotFound``, ``Forbidden`` for another's message, ``NotAMember`` after having left the chat.
        """
        check_content(content, self._content_bytes)
        row = await statements.edit(self._database, message_id, actor.user_id, content)
        self._publisher.in_chats([changed(row)])
        return row

    async def delete(self, actor: Principal, message_id: MessageId) -> MessageRow:
        """Erase the content, told to everyone; the place in the order stays.

        For the sender, and for admins of the group. Raises as ``edit`` does.
        """
        async with self._database.begin() as connection:
            row = await statements.delete(connection, message_id, actor.user_id)
            if row.sender_id != actor.user_id:
                details = Details(chat_id=row.chat_id, user_ids=None if row.sender_id is None else [row.sender_id])
                await audit.note(connection, actor, "message.deleted", audit.message(message_id), details)
        self._publisher.in_chats([changed(row)])
        return row


def announce(publisher: Publisher, stored: Sequence[tuple[Append, Appended]]) -> None:
    """Publish what the writer has just committed: its ``committed`` callback."""
    publisher.in_chats([_event(append, appended) for append, appended in stored])


def _event(append: Append, appended: Appended) -> Envelope:
    envelope = sent(
        MessageRow(
            id=appended.message_id,
            chat_id=append.chat_id,
            seq=appended.seq,
            kind="text",
            content=append.content,
            created_at=appended.created_at,
            updated_at=appended.created_at,
            sender_id=append.sender_id,
            username=appended.username,
        )
    )
    return envelope if append.span is None else replace(envelope, trace=append.span.context)
