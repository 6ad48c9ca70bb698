"""What follows from a membership's end: the row that says so, who is admin then, and the end of an empty chat."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncConnection

from chatapp.protocol.envelope import Envelope, Kind
from chatapp.protocol.events import ChatDeleted, ChatDeletedPayload, encode_event
from chatapp.protocol.ids import ChatId, Seq, UserId
from chatapp.protocol.views import Chat
from chatapp.services.publisher import Publisher
from chatapp.storage import chats, members, system_rows
from chatapp.storage.rows import Action, MessageRow
from chatapp.storage.system_rows import Happening


class Person(Struct, frozen=True):
    """A user by id and present name."""

    user_id: UserId
    username: str


class Departure(Struct, frozen=True):
    """What was done, to be published after the commit."""

    rows: list[MessageRow]
    emptied: list[ChatId]
    """Chats that had no other member; they are deleted."""

    def publish(self, publisher: Publisher) -> None:
        """Tell those who are left, and the one who is gone."""
        publisher.rows(self.rows)
        publisher.in_chats(chat_deleted(chat_id) for chat_id in self.emptied)


async def leave(
    connection: AsyncConnection, locked: Sequence[Chat], subject: Person, *, removed_by: Person | None = None
) -> Departure:
    """End the subject's memberships in these chats, which must be locked. Without ``removed_by`` of its own accord.

    A group that lost its last admin gets the longest-standing member as one; a chat with nobody left is deleted.
    """
    ended = set(await members.remove(connection, subject.user_id, [chat.id for chat in locked]))
    left = [chat for chat in locked if chat.id in ended]
    heirs = await members.heirs(connection, [chat.id for chat in left])
    emptied = [chat.id for chat in left if chat.id not in heirs]
    await chats.delete(connection, emptied)
    happenings: list[Happening] = []
    promoted: list[tuple[ChatId, UserId]] = []
    for chat in left:
        if chat.id not in heirs:
            continue
        happenings.append(_end(chat.id, subject, removed_by))
        heir = heirs[chat.id]
        if chat.is_group and not heir.is_admin:
            promoted.append((chat.id, heir.user_id))
            sentence = f"{heir.username} is now an admin"
            happenings.append(Happening(chat.id, Action.ADMIN_GRANTED, sentence, heir.user_id, heir.username))
    if promoted:
        await members.set_admin(connection, promoted, is_admin=True)
    actor = removed_by or subject
    return Departure(await system_rows.append(connection, actor.user_id, actor.username, happenings), emptied)


def chat_deleted(chat_id: ChatId) -> Envelope:
    """The event of a chat's end."""
    return Envelope(Kind.CHAT_DELETED, chat_id, Seq(0), (encode_event(ChatDeleted(ChatDeletedPayload(chat_id))),))


def _end(chat_id: ChatId, subject: Person, removed_by: Person | None) -> Happening:
    if removed_by is None:
        sentence = f"{subject.username} left the chat"
        return Happening(chat_id, Action.MEMBER_LEFT, sentence, subject.user_id, subject.username)
    sentence = f"{removed_by.username} removed {subject.username}"
    return Happening(chat_id, Action.MEMBER_REMOVED, sentence, subject.user_id, subject.username)
