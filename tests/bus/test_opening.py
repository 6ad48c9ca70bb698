"""The bus is opened with what the settings have, and needs no more rights than the guide gives it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from chatapp.bus.cluster import ClusterBus
from chatapp.bus.opening import AnyRedisBus, open_bus
from chatapp.bus.redis import RedisBus
from tests.bus.private_cluster import PrivateCluster, PrivateSentinels
from tests.bus.private_valkey import PrivateValkey
from tests.bus.recorder import Recorder, eventually

GUIDE = Path(__file__).parents[2] / "docs" / "redis.md"
TOPIC = b"chatapp:chat:1"


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[PrivateValkey]:
    valkey = PrivateValkey(tmp_path, settings=f"unixsocket {tmp_path}/valkey.sock\n")
    valkey.start()
    yield valkey
    valkey.kill()


async def hears_itself(bus: AnyRedisBus) -> None:
    recorder = Recorder()
    await bus.start(recorder)
    try:
        await eventually(lambda: bus.status.connected)
        assert await bus.subscribe([TOPIC])
        bus.publish(TOPIC, b"hello")
        await recorder.heard(TOPIC, b"hello")
        await bus.unsubscribe([TOPIC])
        assert await bus.flush(5)
        assert bus.stats.dropped == 0
    finally:
        await bus.close()


async def test_a_socket_is_as_good_as_an_address(valkey: PrivateValkey, tmp_path: Path) -> None:
    await hears_itself(open_bus("single", f"unix://{tmp_path}/valkey.sock"))


def test_each_mode_has_its_bus() -> None:
    assert isinstance(open_bus("single", "redis://a"), RedisBus)
    assert isinstance(open_bus("sentinel", "redis://a", nodes=[("b", 26379)]), RedisBus)
    assert isinstance(open_bus("cluster", "redis://a", nodes=[("a", 6379), ("b", 6379)]), ClusterBus)


@pytest.mark.parametrize("mode", ["single", "sentinel", "cluster"])
def test_an_address_that_is_none_is_not_quoted(mode: str) -> None:
    with pytest.raises(ValueError, match="must look like") as failure:
        open_bus(mode, "redis://:secret@host:port", nodes=[("b", 1)])  # type: ignore[arg-type]
    assert "secret" not in str(failure.value)


def rights(number: int) -> list[str]:
    """The words of the guide's rule of this number, with a password of ours."""
    rules = re.findall(r"^user (chatapp .*)$", GUIDE.read_text(), re.MULTILINE)
    assert len(rules) == 4
    words: list[str] = rules[number].replace(">PASSWORD", ">open-sesame").split()
    return words


async def test_the_rights_of_the_guide_suffice_for_one_server(valkey: PrivateValkey) -> None:
    valkey.command("ACL", "SETUSER", *rights(0))
    await hears_itself(open_bus("single", valkey.url.replace("//", "//chatapp:open-sesame@")))


async def test_the_rights_of_the_guide_suffice_behind_sentinels(sentinels: PrivateSentinels) -> None:
    sentinels.master.command("ACL", "SETUSER", *rights(1))
    for sentinel in sentinels.sentinels:
        sentinel.command("ACL", "SETUSER", *rights(2))
    url = "redis://chatapp:open-sesame@nowhere"
    await hears_itself(open_bus("sentinel", url, nodes=sentinels.addresses, sentinel_master=sentinels.name))


async def test_the_rights_of_the_guide_suffice_for_a_cluster(cluster: PrivateCluster) -> None:
    for node in cluster.nodes:
        node.command("ACL", "SETUSER", *rights(3))
    await hears_itself(open_bus("cluster", cluster.masters[0].url.replace("//", "//chatapp:open-sesame@")))


async def test_a_topic_that_a_node_refuses_does_not_hold_up_the_others(cluster: PrivateCluster) -> None:
    for node in cluster.nodes:
        node.command("ACL", "SETUSER", *rights(3))
    bus, recorder = open_bus("cluster", cluster.masters[0].url.replace("//", "//chatapp:open-sesame@")), Recorder()
    await bus.start(recorder)
    await eventually(lambda: bus.status.connected)
    forbidden = [b"forbidden:%d" % number for number in range(9)]  # at every node
    topics = [b"chatapp:chat:%d" % number for number in range(9)]
    assert await bus.subscribe(topics)
    assert await bus.subscribe(forbidden[:1]) is False
    for topic in (*forbidden, *topics):
        bus.publish(topic, b"hello")
    for topic in topics:
        await recorder.heard(topic, b"hello")
    for node in cluster.nodes:
        node.command("CLIENT", "KILL", "TYPE", "pubsub")
    await eventually(lambda: recorder.gaps > 0)
    await eventually(lambda: bus.status.connected)
    assert bus.stats.dropped == len(forbidden)
    await bus.close()
