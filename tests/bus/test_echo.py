"""What a replica publishes it hears at once, and once."""

from __future__ import annotations

import asyncio

from chatapp.bus.echo import EchoBus
from chatapp.bus.memory import MemoryBus, MemoryHub
from tests.bus.recorder import Recorder


async def test_the_publisher_hears_within_the_turn_of_the_loop_and_the_others_over_the_bus() -> None:
    memory = MemoryHub()
    here, there = EchoBus(MemoryBus(memory)), EchoBus(MemoryBus(memory))
    at_home, abroad = Recorder(), Recorder()
    await here.start(at_home)
    await there.start(abroad)
    await here.subscribe([b"a"])
    await there.subscribe([b"a"])
    here.publish(b"a", b"one")
    here.publish(b"a", b"two")
    await asyncio.sleep(0)
    assert at_home.payloads(b"a") == [b"one", b"two"]
    await abroad.heard(b"a", b"two")
    assert abroad.payloads(b"a") == [b"one", b"two"]
    assert at_home.payloads(b"a") == [b"one", b"two"]
    await here.close()
    await there.close()


async def test_what_is_not_subscribed_is_not_heard() -> None:
    bus, heard = EchoBus(MemoryBus(MemoryHub())), Recorder()
    await bus.start(heard)
    bus.publish(b"a", b"before")
    await bus.subscribe([b"a"])
    bus.publish(b"a", b"meanwhile")
    await bus.unsubscribe([b"a"])
    bus.publish(b"a", b"after")
    await bus.subscribe([b"b"])
    bus.publish(b"b", b"last")
    await heard.heard(b"b", b"last")
    assert heard.payloads(b"a") == []
    await bus.close()


async def test_it_is_heard_at_home_while_the_bus_is_away() -> None:
    memory = MemoryHub()
    bus, heard = EchoBus(MemoryBus(memory)), Recorder()
    await bus.start(heard)
    await bus.subscribe([b"a"])
    memory.go_away()
    bus.publish(b"a", b"alone")
    await asyncio.sleep(0)
    assert heard.payloads(b"a") == [b"alone"]
    await bus.close()
