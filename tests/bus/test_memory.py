"""What only the bus in memory can: an outage on demand, for tests of what is above the bus."""

from __future__ import annotations

import pytest

from chatapp.bus.memory import MemoryBus, MemoryHub
from chatapp.errors import Unavailable
from tests.bus.recorder import Recorder


async def test_an_outage_keeps_what_is_published_and_ends_with_a_gap(caplog: pytest.LogCaptureFixture) -> None:
    hub, recorder = MemoryHub(), Recorder()
    bus = MemoryBus(hub)
    await bus.start(recorder)
    assert await bus.subscribe([b"t"])
    hub.go_away()
    bus.publish(b"t", b"during")
    assert await bus.subscribe([b"late"]) is False
    assert await bus.flush(1) is False
    assert (bus.status.connected, bus.status.unconfirmed) == (False, 1)
    with pytest.raises(Unavailable):
        await bus.ping()
    recorder.fails = True
    hub.come_back()
    recorder.fails = False
    assert recorder.gaps == 1
    assert "failed on a gap" in caplog.text
    bus.publish(b"late", b"after")
    await recorder.heard(b"late", b"after")
    assert [delivery.payload for delivery in recorder.deliveries] == [b"during", b"after"]
    await bus.close()
