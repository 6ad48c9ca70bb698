"""What the terminal client does with what is typed and with what happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

from chatapp.cli.finding import find_chat, find_user
from chatapp.cli.showing import Screen
from chatapp.cli.untrusted import one_line
from chatapp.client import Client, ClientError, Session
from chatapp.client.events import SessionEvent, place_of
from chatapp.protocol.events import ChatDeleted, MemberRemoved, MessageSent, NewChat
from chatapp.protocol.ids import ChatId, Seq, UserId

_SHOWN = 20
_CHATS = 100
_UNDER_WAY = 100
_SHOWN_WITHIN_S = 5.0
HELP = """\
/chats                 your chats
/open CHAT             go to a chat: its number, its name, or @somebody
/new NAME USER...      make a group with these users
/members               who is here
/quit                  leave (so does the end of the input)
//...                  a message that begins with a slash"""


class Conversation:
    """One terminal."""

    def __init__(self, client: Client, session: Session, screen: Screen, typed: AsyncIterator[str]) -> None:
        self._client = client
        self._session = session
        self._screen = screen
        self._typed = typed
        self._here: ChatId | None = None
        self._names: dict[ChatId, str] = {}
        self._me: UserId | None = None
        self._shown: dict[ChatId, Seq] = {}
        self._next = asyncio.Event()
        self._sending: set[asyncio.Task[None]] = set()
        self._commands: dict[str, Callable[[str], Awaitable[None]]] = {
            "/help": self._help,
            "/chats": self._chats,
            "/open": self._open,
            "/new": self._new,
            "/members": self._members,
        }

    async def run(self, asked: str) -> None:
        """Until the input ends, or the session cannot go on. Raises ``ClientError``."""
        self._me = (await self._client.me()).id
        hearing = asyncio.create_task(self._hear())
        typing = asyncio.create_task(self._type(asked))
        try:
            await asyncio.wait((hearing, typing), return_when=asyncio.FIRST_COMPLETED)
            for task in (typing, hearing):
                if task.done():
                    task.result()
        finally:
            tasks = [hearing, typing, *self._sending]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    # -- what happens ---------------------------------------------------------------------------------------------

    async def _hear(self) -> None:
        async for event in self._session:
            self._show(event)

    def _show(self, event: SessionEvent) -> None:
        place = place_of(event)
        if place is not None:
            self._shown[place[0]] = place[1]
            self._next.set()
            self._next = asyncio.Event()
        chat_id = event.payload.chat_id if isinstance(event, ChatDeleted) else place[0] if place else None
        if isinstance(event, NewChat):
            self._names[event.payload.id] = event.payload.name
            self._screen.event(event)
        elif chat_id is None:
            self._screen.connection(event)
        elif chat_id == self._here:
            self._screen.event(event)
            if isinstance(event, MessageSent) and event.payload.sender_id != self._me:
                self._begin(self._mark_read(chat_id, event.payload.seq))
            if isinstance(event, MemberRemoved) and event.payload.user_id == self._me:
                self._here = None
        elif isinstance(event, MessageSent):
            self._screen.event(event, f"[{one_line(self._names.get(chat_id, '')) or 'chat'} {chat_id}]")

    # -- what is typed --------------------------------------------------------------------------------------------

    async def _type(self, asked: str) -> None:
        await self._try(self._open(asked) if asked else self._chats(""))
        async for line in self._typed:
            if not line.strip():
                continue
            word, _, rest = line.partition(" ")
            if word == "/quit":
                break
            if word.startswith("/") and not word.startswith("//"):
                await self._try(self._commands.get(word, self._help)(rest.strip()))
            elif self._here is None:
                self._screen.trouble("you are in no chat: /open one")
            else:
                self._screen.erase_line()
                self._begin(self._send(self._here, line.removeprefix("/") if line.startswith("//") else line))
                while len(self._sending) >= _UNDER_WAY:
                    await asyncio.wait(self._sending, return_when=asyncio.FIRST_COMPLETED)
        if self._sending:
            await asyncio.wait(self._sending)

    async def _send(self, chat_id: ChatId, content: str) -> None:
        try:
            ack = await self._session.send(chat_id, content)
            with suppress(TimeoutError):
                async with asyncio.timeout(_SHOWN_WITHIN_S):
                    while self._shown.get(chat_id, 0) < (ack.seq or 0):
                        await self._next.wait()
        except ClientError as error:
            self._screen.trouble(f"not sent ({error}): {one_line(content)}")

    async def _mark_read(self, chat_id: ChatId, seq: int) -> None:
        try:
            await self._session.mark_read(chat_id, seq)
        except ClientError:
            return  # the next message marks this one too

    def _begin(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _try(self, work: Awaitable[None]) -> None:
        try:
            await work
        except ClientError as error:
            self._screen.trouble(str(error))

    # -- commands -------------------------------------------------------------------------------------------------

    async def _help(self, _: str) -> None:
        for line in HELP.splitlines():
            self._screen.note(line)

    async def _chats(self, _: str) -> None:
        chats = await self._client.chats.page(limit=_CHATS, with_members=False)
        for chat in chats:
            self._names[chat.id] = chat.name
            unread = f", {chat.unread_count} unread" if chat.unread_count else ""
            self._screen.note(f"{chat.id} {one_line(chat.name) or '(direct)'}, {chat.member_count} members{unread}")
        if not chats:
            self._screen.note("you are in no chat yet: /new NAME USER... makes a group, /open @somebody a direct chat")

    async def _open(self, asked: str) -> None:
        found = await find_chat(self._client, asked)
        self._here, self._names[found.id] = found.id, found.name
        self._screen.note(f"chat {found.id} {one_line(found.name) or one_line(asked)}")
        for message in reversed(await self._client.messages.page(found.id, limit=_SHOWN)):
            self._screen.row(message)
        if found.last_seq:
            self._begin(self._mark_read(found.id, found.last_seq))

    async def _new(self, asked: str) -> None:
        if not asked:
            await self._help("")
            return
        name, *users = asked.split()
        members = [await find_user(self._client, user) for user in users]
        made = await self._client.chats.group(name, members or [(await self._client.me()).id])
        await self._open(str(made.id))

    async def _members(self, _: str) -> None:
        if self._here is not None:
            for member in await self._client.members.page(self._here, limit=100):
                self._screen.note(f"{one_line(member.username)}{' (admin)' if member.is_admin else ''}")
