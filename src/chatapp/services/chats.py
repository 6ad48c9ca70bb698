"""Chats: create, look up, rename, delete, and how far somebody has read. Their members: ``services.members``."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncConnection

from chatapp.auth.principal import Principal
from chatapp.errors import ChatNotFound, Forbidden, NotAMember, Unavailable, ValidationFailed
from chatapp.protocol.envelope import Envelope, Kind
from chatapp.protocol.events import Read, ReadPayload, encode_event
from chatapp.protocol.ids import ChatId, Seq, UserId
from chatapp.protocol.views import Chat, ChatDetail
from chatapp.services import audit
from chatapp.services.fields import Fields
from chatapp.services.leaving import chat_deleted
from chatapp.services.publisher import Publisher
from chatapp.storage import chats as statements
from chatapp.storage import members, system_rows, users
from chatapp.storage.audit import Details
from chatapp.storage.engine import Database
from chatapp.storage.members import NewMember
from chatapp.storage.rows import Action
from chatapp.storage.system_rows import Happening

_ATTEMPTS = 3


class Created(Struct, frozen=True):
    """A chat; ``created`` is false when it is the direct chat that the pair had before."""

    chat: Chat
    created: bool


class Chats:
    """Everything may raise ``Unavailable``."""

    def __init__(self, database: Database, publisher: Publisher) -> None:
        self._database = database
        self._publisher = publisher

    async def create(self, actor: Principal, *, name: str, is_group: bool, member_ids: Sequence[UserId]) -> Created:
        """Make a chat of the actor (who is its admin and need not be listed) and these users.

        A direct chat has exactly one other member, or only the actor, and exists once. All of them hear ``new_chat``.
        Raises ``ValidationFailed``, with the tag ``exists`` for users that do not exist: then nothing was created.
        """
        fields = Fields()
        name = fields.chat_name(name, required=is_group)
        fields.member_ids_count(len(member_ids))
        fields.done()
        if is_group:
            chat = await self._create_group(actor, name, sorted({actor.user_id, *member_ids}))
            return Created(chat, created=True)
        others = set(member_ids) - {actor.user_id} or {actor.user_id}
        if len(others) > 1:
            raise ValidationFailed.of("member_ids", "max", 1)
        return await self._create_direct(actor, name, others.pop())

    async def page(self, actor: Principal, *, limit: int, offset: int, with_members: bool = True) -> list[ChatDetail]:
        """The actor's chats, last active first."""
        return await statements.page(
            self._database, actor.user_id, limit=limit, offset=offset, with_members=with_members
        )

    async def get(self, actor: Principal, chat_id: ChatId) -> ChatDetail:
        """One chat as the actor sees it. Raises ``NotAMember``."""
        chat = await statements.detail(self._database, actor.user_id, chat_id)
        if chat is None:
            raise NotAMember
        return chat

    async def rename(self, actor: Principal, chat_id: ChatId, name: str) -> Chat:
        """Give it another name. Raises ``ValidationFailed``, ``NotAMember``, ``Forbidden`` to who is not an admin."""
        fields = Fields()
        name = fields.chat_name(name)
        fields.done()
        async with self._database.begin() as connection:
            chat = await locked_for(connection, actor, chat_id, "only admins can update the chat")
            if name == chat.name:
                return chat
            await statements.rename(connection, chat_id, name)
            sentence = f"{actor.username} renamed the chat to {name}"
            rows = await system_rows.append(
                connection,
                actor.user_id,
                actor.username,
                [Happening(chat_id, Action.RENAMED, sentence, None, name)],
            )
            former_name = chat.name
            (chat,) = await statements.lock(connection, [chat_id])
            await audit.note(
                connection, actor, "chat.renamed", audit.chat(chat_id), Details(name=name, former_name=former_name)
            )
        self._publisher.rows(rows)
        return chat

    async def delete(self, actor: Principal, chat_id: ChatId) -> None:
        """Delete it with all that is in it. Raises ``ChatNotFound``, ``Forbidden`` to all but the creator."""
        async with self._database.begin() as connection:
            for chat in await statements.lock(connection, [chat_id]):
                if chat.creator_id != actor.user_id:
                    raise Forbidden("only the creator can delete the chat", code="not_the_creator")
                await statements.delete(connection, [chat_id])
                await audit.note(connection, actor, "chat.deleted", audit.chat(chat_id), Details(name=chat.name))
                break
            else:
                raise ChatNotFound
        self._publisher.in_chats([chat_deleted(chat_id)])

    async def mark_read(self, actor: Principal, chat_id: ChatId, seq: Seq) -> Seq:
        """Move the actor's read mark forward, never back: where it stands then. Raises ``NotAMember``.

        Everybody in the chat hears it, the actor's other connections too.
        """
        mark = await members.mark_read(self._database, chat_id, actor.user_id, seq)
        if mark.moved:
            frame = encode_event(Read(ReadPayload(chat_id, actor.user_id, mark.seq)))
            self._publisher.in_chats([Envelope(Kind.PASSING, chat_id, Seq(0), (frame,))])
        return mark.seq

    async def _create_group(self, actor: Principal, name: str, user_ids: Sequence[UserId]) -> Chat:
        async with self._database.begin() as connection:
            await names_of(connection, user_ids)
            chat = await statements.insert_group(connection, name, actor.user_id)
            await self._found(connection, chat, actor, user_ids)
        self._publisher.joined(chat, [(user_id, Seq(0)) for user_id in user_ids])
        return chat

    async def _create_direct(self, actor: Principal, name: str, other: UserId) -> Created:
        user_ids = sorted({actor.user_id, other})
        key = statements.direct_key(actor.user_id, other)
        for _ in range(_ATTEMPTS):  # again only when the pair's chat is deleted between being met and being read
            async with self._database.begin() as connection:
                await names_of(connection, user_ids)
                chat = await statements.insert_direct(connection, name, actor.user_id, key)
                if chat is None:
                    earlier = await statements.direct(connection, key)
                    if earlier is not None:
                        return Created(earlier, created=False)
                    continue
                await self._found(connection, chat, actor, user_ids)
            self._publisher.joined(chat, [(user_id, Seq(0)) for user_id in user_ids])
            return Created(chat, created=True)
        raise Unavailable

    async def _found(
        self, connection: AsyncConnection, chat: Chat, actor: Principal, user_ids: Sequence[UserId]
    ) -> None:
        founders = [NewMember(user_id, Seq(0), is_admin=user_id == actor.user_id) for user_id in user_ids]
        await members.insert(connection, chat.id, chat.created_at, founders)


async def locked_for(
    connection: AsyncConnection, actor: Principal, chat_id: ChatId, only_admins: str | None = None
) -> Chat:
    """Lock the chat for its member. Raises ``NotAMember``, also without such a chat.

    With ``only_admins`` (the sentence of the refusal) raises ``Forbidden`` to who is not an admin.
    """
    locked = await statements.lock(connection, [chat_id])
    member = await members.one(connection, chat_id, actor.user_id) if locked else None
    if member is None:
        raise NotAMember
    if only_admins is not None and not member.is_admin:
        raise Forbidden(only_admins, code="not_an_admin")
    return locked[0]


async def names_of(connection: AsyncConnection, user_ids: Sequence[UserId]) -> dict[UserId, str]:
    """The names of these users. Raises ``ValidationFailed`` (tag ``exists``) unless all of them exist."""
    names = await users.living(connection, user_ids)
    unknown = [str(user_id) for user_id in user_ids if user_id not in names]
    if unknown:
        raise ValidationFailed.of("member_ids", "exists", ", ".join(unknown[:10]))
    return names
