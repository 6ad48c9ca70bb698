"""Events as lines of a terminal, with colours where it is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.text import Text

from chatapp.cli.untrusted import lines, one_line
from chatapp.client.events import CaughtUp, Connected, NotFollowed, Reconnecting, Resynced, StartedOver
from chatapp.protocol.events import (
    ChatDeleted,
    ChatUpdated,
    MessageDeleted,
    MessageSent,
    MessageUpdated,
    NewChat,
    System,
)

if TYPE_CHECKING:
    from datetime import datetime

    from chatapp.client.events import SessionEvent
    from chatapp.protocol.views import Message

_COLOURS = ("cyan", "green", "magenta", "yellow", "blue", "bright_cyan", "bright_green", "bright_magenta")


class Screen:
    """Writes lines. Everything that comes from others is cleaned first."""

    def __init__(self, file: TextIO) -> None:
        self._console = Console(file=file, markup=False, highlight=False, emoji=False, soft_wrap=True)

    @property
    def is_terminal(self) -> bool:
        """Whether somebody looks at it, rather than a pipe."""
        return self._console.is_terminal

    def message(self, at: datetime, seq: int, username: str, content: str, mark: str = "") -> None:
        """A message. ``mark``: the chat it is in, or what became of it."""
        name = one_line(username) or "(deleted)"
        line = Text(f"{at.astimezone():%H:%M} #{seq} ", style="dim")
        line.append(f"{mark} " if mark else "", style="dim")
        line.append(name, style=f"bold {_COLOURS[sum(name.encode()) % len(_COLOURS)]}")
        line.append(f": {lines(content)}", style="")
        self._write(line)

    def row(self, message: Message, mark: str = "") -> None:
        """A message that was read over REST."""
        if message.kind == "system":
            self.note(f"#{message.seq} {one_line(message.content, 300)}")
            return
        sender = message.sender
        name = "(deleted)" if sender is None else sender.username
        self.message(message.created_at, message.seq, name, message.content, mark)

    def note(self, sentence: str) -> None:
        """Of the program, or of the service. ``sentence`` is clean already."""
        self._write(Text(f"* {sentence}", style="dim"))

    def trouble(self, sentence: str) -> None:
        """What did not work."""
        self._write(Text(f"! {sentence}", style="bold red"))

    def erase_line(self) -> None:
        """Take back the line that was just typed: it comes again when it is stored."""
        if self.is_terminal:
            self._console.file.write("\x1b[A\x1b[2K\r")

    def event(self, event: SessionEvent, mark: str = "") -> None:
        """One line for what is worth one."""
        match event:
            case MessageSent(payload=message):
                self.message(message.timestamp, message.seq, message.username, message.content, mark)
            case MessageUpdated(payload=update):
                self.note(f"#{update.seq} now reads: {lines(update.content)}")
            case MessageDeleted(payload=gone):
                self.note(f"#{gone.seq} was deleted")
            case System(payload=sentence):
                number = "" if sentence.seq is None else f"#{sentence.seq} "
                self.note(f"{number}{one_line(sentence.message, 300)}")
            case ChatUpdated(payload=update) if update.name is not None:
                self.note(f"the chat is now called {one_line(update.name)}")
            case ChatDeleted():
                self.note("the chat was deleted")
            case NewChat(payload=chat):
                self.note(f"you are in a new chat: {chat.id} {one_line(chat.name)}")
            case _:
                pass

    def connection(self, event: SessionEvent) -> None:
        """How the connection is."""
        match event:
            case Connected():
                self.note(f"connected to {event.url} (connection {one_line(event.connection_id)})")
            case CaughtUp(missed=missed) if missed:
                self.note(f"caught up, {missed} missed")
            case Reconnecting():
                self.trouble(f"no connection ({one_line(event.reason)}); trying {event.url} in {event.in_s:.1f} s")
            case Resynced():
                self.note(f"read #{event.after + 1} to #{event.upto} from the history")
            case StartedOver():
                self.trouble("the service was restored from a backup: what is shown above may be void")
            case NotFollowed():
                self.trouble(f"chat {event.chat_id} is not followed: {one_line(event.code)}")
            case _:
                pass

    def _write(self, line: Text) -> None:
        self._console.print(line)
