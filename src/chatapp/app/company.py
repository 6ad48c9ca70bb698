"""The parts that know who is online, put together."""

from __future__ import annotations

import asyncio

from chatapp.bus.presence import PresenceStore
from chatapp.config.sections import PresenceSettings
from chatapp.gateway.hub import Hub
from chatapp.gateway.presence import Presence
from chatapp.gateway.roll_call import RollCall
from chatapp.services.presence import Announcer, Audiences
from chatapp.services.publisher import Publisher
from chatapp.storage.engine import Database


class Company:
    """One for each replica that keeps presence. Make it before the hub begins to listen."""

    def __init__(
        self, hub: Hub, database: Database, publisher: Publisher, store: PresenceStore, settings: PresenceSettings
    ) -> None:
        audiences = Audiences(database, settings.group_limit)
        self._store = store
        self.announcer = Announcer(database, audiences, publisher)
        self.presence = Presence(hub, audiences)
        self.roll_call = RollCall(hub, store, self.presence, self.announcer, audiences, settings.offline_after_s)
        hub.on_presence = self.presence.hear
        hub.on_arrival = self.roll_call.arrived

    def start(self) -> list[asyncio.Task[None]]:
        """Its tasks, which are the caller's to end."""
        loop = asyncio.get_running_loop()
        return [
            loop.create_task(self.roll_call.run(), name="roll call"),
            loop.create_task(self.roll_call.run_comparisons(), name="presence compared"),
            loop.create_task(self.announcer.run(), name="presence announced"),
            loop.create_task(self.presence.run(), name="presence told"),
        ]

    async def close(self) -> None:
        """Close the connections to Redis."""
        await self._store.close()
