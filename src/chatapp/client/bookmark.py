"""Where a reader stands, to be kept and given to a later session."""

from __future__ import annotations

from msgspec import Struct, field

from chatapp.client.events import CaughtUp, Connected, Resynced, StartedOver, place_of
from chatapp.protocol.events import ChatDeleted
from chatapp.protocol.ids import ChatId, Seq


class Bookmark(Struct, frozen=True):
    """What was taken out of a session: the last position in each chat. Of another ``epoch`` it is void.

    ``epoch`` may be left empty by who knows positions only. Encode it with ``msgspec`` to keep it.
    """

    epoch: str = ""
    positions: dict[ChatId, Seq] = field(default_factory=dict)


class Marking:
    """Follows what the reader takes, which is behind what the session has heard."""

    def __init__(self, start: Bookmark) -> None:
        self._epoch = start.epoch
        self._positions = dict(start.positions)

    @property
    def bookmark(self) -> Bookmark:
        """As it is now."""
        return Bookmark(self._epoch, dict(self._positions))

    def taken(self, event: object) -> None:
        """The reader has this event."""
        place = place_of(event)
        if place is not None:
            self._positions[place[0]] = place[1]
            return
        match event:
            case Connected():
                self._epoch = event.epoch
                self._positions = {**event.positions, **self._positions}
            case CaughtUp():
                for chat_id, seq in event.positions.items():
                    self._positions[chat_id] = max(seq, self._positions.get(chat_id, Seq(0)))
            case Resynced():
                self._positions[event.chat_id] = event.upto
            case StartedOver():
                self._epoch, self._positions = event.epoch, {}
            case ChatDeleted(payload=gone):
                self._positions.pop(gone.chat_id, None)
            case _:
                pass
