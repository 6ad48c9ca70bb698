"""What can be found."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from chatapp.protocol.ids import ChatId


class Fault(StrEnum):
    """The kind of a broken promise."""

    LOST = "lost"
    """Acked or committed, and not there, or not heard by somebody who follows."""
    DOUBLED = "doubled"
    """Kept twice, or heard twice."""
    REORDERED = "reordered"
    """Against the order in which things were done, or heard in another order than that of the positions."""
    ALTERED = "altered"
    """Kept or heard with another content than was written."""
    LEAKED = "leaked"
    """Heard by somebody who was not a member, or who had not asked."""
    NUMBERING = "numbering"
    """Positions used twice, left out, or beyond the chat's ``last_seq``."""
    PHANTOM = "phantom"
    """There, although nobody wrote it or the service had refused it."""
    STALLED = "stalled"
    """Not in the same state again in time after the last fault."""


class Violation(Struct, frozen=True):
    """One broken promise."""

    fault: Fault
    chat_id: ChatId | None
    detail: str

    def __str__(self) -> str:
        return f"{self.fault}: chat {self.chat_id}: {self.detail}"
