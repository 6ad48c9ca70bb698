"""Members of groups: list, add, remove, leave, and the role of admin."""

from __future__ import annotations

from collections.abc import Sequence

from chatapp.auth.principal import Principal
from chatapp.errors import Conflict, Forbidden, MemberNotFound, NotAMember
from chatapp.protocol.ids import ChatId, UserId
from chatapp.protocol.views import Chat, Member
from chatapp.services import audit
from chatapp.services.chats import locked_for, names_of
from chatapp.services.fields import Fields
from chatapp.services.leaving import Person, leave
from chatapp.services.publisher import Publisher
from chatapp.storage import chats, system_rows
from chatapp.storage import members as statements
from chatapp.storage.audit import Details
from chatapp.storage.engine import Database
from chatapp.storage.members import NewMember
from chatapp.storage.rows import Action
from chatapp.storage.system_rows import Happening


class Members:
    """Everything may raise ``Unavailable`` and ``NotAMember``; what changes a direct chat, ``Forbidden``."""

    def __init__(self, database: Database, publisher: Publisher) -> None:
        self._database = database
        self._publisher = publisher

    async def page(self, actor: Principal, chat_id: ChatId, *, limit: int, offset: int) -> list[Member]:
        """The members in the order of joining."""
        found = await statements.page(self._database, chat_id, actor.user_id, limit=limit, offset=offset)
        if found is None:
            raise NotAMember
        return found

    async def add(self, actor: Principal, chat_id: ChatId, user_ids: Sequence[UserId]) -> None:
        """Make users members; who is one already stays as he is. They hear ``new_chat``, the others a row for each.

        Raises ``ValidationFailed`` (nobody was added), ``Forbidden`` to who is not an admin.
        """
        fields = Fields()
        fields.member_ids_count(len(user_ids))
        fields.done()
        wanted = sorted(set(user_ids))
        async with self._database.begin() as connection:
            chat = await locked_for(connection, actor, chat_id, "only admins can add members")
            _only_groups(chat)
            names = await names_of(connection, wanted)
            present = await statements.among(connection, chat_id, wanted)
            new = [user_id for user_id in wanted if user_id not in present]
            if not new:
                return
            rows = await system_rows.append(
                connection,
                actor.user_id,
                actor.username,
                [_added(chat_id, actor, Person(user_id, names[user_id])) for user_id in new],
            )
            joining = [NewMember(user_id, row.seq) for user_id, row in zip(new, rows, strict=True)]
            await statements.insert(connection, chat_id, rows[0].created_at, joining)
            (chat,) = await chats.lock(connection, [chat_id])
            await audit.note(connection, actor, "members.added", audit.chat(chat_id), Details(user_ids=new))
        self._publisher.added(chat, rows)

    async def set_admin(self, actor: Principal, chat_id: ChatId, user_id: UserId, *, is_admin: bool) -> Member:
        """Give or take the role. Raises ``Forbidden`` to who is not an admin, ``MemberNotFound``.

        Raises ``Conflict`` (``last_admin``) when nobody would have the role.
        """
        async with self._database.begin() as connection:
            chat = await locked_for(connection, actor, chat_id, "only admins can change roles")
            _only_groups(chat)
            member = await statements.one(connection, chat_id, user_id)
            if member is None:
                raise MemberNotFound
            if member.is_admin == is_admin:
                return member
            if not is_admin and not await statements.has_other_admin(connection, chat_id, user_id):
                raise Conflict("a group keeps at least one admin", code="last_admin")
            await statements.set_admin(connection, [(chat_id, user_id)], is_admin=is_admin)
            rows = await system_rows.append(
                connection, actor.user_id, actor.username, [_role(chat_id, actor, member, is_admin=is_admin)]
            )
            details = Details(user_ids=[user_id], is_admin=is_admin)
            await audit.note(connection, actor, "member.role_changed", audit.chat(chat_id), details)
        self._publisher.rows(rows)
        return Member(member.user_id, member.username, is_admin, member.joined_at)

    async def remove(self, actor: Principal, chat_id: ChatId, user_id: UserId) -> None:
        """Remove a member, or leave. A group never loses its last admin: the role passes on.

        Raises ``Forbidden`` to who is not an admin and means another, ``MemberNotFound``.
        """
        leaving = user_id == actor.user_id
        async with self._database.begin() as connection:
            chat = await locked_for(connection, actor, chat_id, None if leaving else "only admins can remove members")
            _only_groups(chat)
            member = await statements.one(connection, chat_id, user_id)
            if member is None:
                raise MemberNotFound
            departure = await leave(
                connection,
                [chat],
                Person(user_id, member.username),
                removed_by=None if leaving else Person(actor.user_id, actor.username),
            )
            if not leaving:
                details = Details(user_ids=[user_id])
                await audit.note(connection, actor, "member.removed", audit.chat(chat_id), details)
        departure.publish(self._publisher)


def _only_groups(chat: Chat) -> None:
    if not chat.is_group:
        raise Forbidden("a direct chat has no other members", code="direct_chat")


def _added(chat_id: ChatId, actor: Principal, subject: Person) -> Happening:
    sentence = f"{actor.username} added {subject.username}"
    return Happening(chat_id, Action.MEMBER_ADDED, sentence, subject.user_id, subject.username)


def _role(chat_id: ChatId, actor: Principal, subject: Member, *, is_admin: bool) -> Happening:
    if is_admin:
        sentence, action = f"{actor.username} made {subject.username} an admin", Action.ADMIN_GRANTED
    else:
        sentence, action = f"{actor.username} took the role of admin from {subject.username}", Action.ADMIN_REVOKED
    return Happening(chat_id, action, sentence, subject.user_id, subject.username)
