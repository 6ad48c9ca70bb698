"""What nodes say about their cluster, and whom to believe."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import hiredis
import pytest

from chatapp.bus.resp import Endpoint, Reply
from chatapp.bus.topology import find_topology, read_topology

ASKED = Endpoint("10.0.0.9", 7000, password="secret")
INFO = b"cluster_enabled:1\r\ncluster_state:ok\r\ncluster_current_epoch:7\r\n"

Node = Callable[..., Awaitable[Endpoint]]


def node(host: bytes | None, port: int) -> list[object]:
    return [host, port, b"0" * 40, []]


def test_each_slot_has_the_master_that_is_named_first() -> None:
    slots: Reply = [
        [0, 8191, node(b"10.0.0.1", 7000), node(b"10.0.0.2", 7000)],
        [8192, 16382, node(b"name.example", 7001)],
    ]
    topology = read_topology(INFO, slots, ASKED)
    assert topology.owners[0] == topology.owners[8191] == ASKED.at("10.0.0.1", 7000)
    assert topology.owners[8192] == topology.owners[16382] == ASKED.at("name.example", 7001)
    assert topology.owners[16383] is None
    assert {str(each) for each in topology.nodes} == {"10.0.0.1:7000", "10.0.0.2:7000", "name.example:7001"}
    assert (topology.is_serving, topology.epoch) == (True, 7)
    assert topology.owners[0].password == "secret"


@pytest.mark.parametrize("host", [None, b""])
def test_a_node_without_a_host_is_where_it_was_asked(host: bytes | None) -> None:
    assert read_topology(INFO, [[0, 1, node(host, 7003)]], ASKED).owners[1] == ASKED.at("10.0.0.9", 7003)


def test_a_node_without_a_name_has_no_address() -> None:
    assert read_topology(INFO, [[0, 1, node(b"?", 7003)]], ASKED).owners[1] is None


def test_a_redis_that_is_no_cluster_is_told_apart() -> None:
    disabled = hiredis.ReplyError("ERR This instance has cluster support disabled")
    with pytest.raises(ValueError, match="no node of a cluster"):
        read_topology(disabled, disabled, ASKED)


@pytest.fixture
async def serve() -> AsyncIterator[Node]:
    """A node that names this port as the owner of all slots; silent when it is told so."""
    servers: list[asyncio.Server] = []

    async def serve(owner: int, *, state: str = "ok", epoch: int = 1, silent: bool = False) -> Endpoint:
        info = f"cluster_state:{state}\r\ncluster_current_epoch:{epoch}\r\n"
        slots = f"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$1\r\nh\r\n:{owner}\r\n"

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1000)
            if not silent:
                writer.write(b"+OK\r\n+PONG\r\n")
                await reader.read(1000)
                writer.write(f"${len(info)}\r\n{info}\r\n{slots}".encode())
            await reader.read()
            writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        servers.append(server)
        return Endpoint("127.0.0.1", server.sockets[0].getsockname()[1])

    yield serve
    for server in servers:
        server.close()


async def owner_by(*nodes: Endpoint) -> int | None:
    topology = await find_topology(nodes, timeout_s=1)
    owner = topology.owners[0] if topology is not None else None
    return None if owner is None else owner.port


async def test_the_newest_view_of_a_cluster_that_serves_is_believed(serve: Node) -> None:
    old, new, cut_off = await serve(1, epoch=4), await serve(2, epoch=5), await serve(3, state="fail", epoch=6)
    assert await owner_by(old, new, cut_off) == 2
    assert await owner_by(cut_off) is None


async def test_of_views_of_the_same_age_the_first_is_believed(serve: Node) -> None:
    one, two = await serve(1), await serve(2)
    assert await owner_by(one, two) == 1
    assert await owner_by(two, one) == 2


async def test_a_node_that_is_silent_does_not_keep_a_majority_waiting(serve: Node) -> None:
    silent, one, two = await serve(9, silent=True), await serve(1), await serve(1)
    began = asyncio.get_running_loop().time()
    assert await owner_by(silent, one, two) == 1
    assert asyncio.get_running_loop().time() - began < 0.9
