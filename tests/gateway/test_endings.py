"""What is told about a connection when it is over."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from chatapp.protocol.codes import CloseCode
from tests.gateway.replicas import TIMEOUT_S, Node


async def test_the_end_of_a_connection_is_told_with_its_code_whoever_ended_it(
    pair: tuple[Node, Node], caplog: pytest.LogCaptureFixture
) -> None:
    one, _ = pair
    user = await one.somebody()
    with caplog.at_level(logging.INFO, "chatapp.gateway.connection"):
        by_client, by_server, by_nobody = [await one.connect(user) for _ in range(3)]
        await by_client.ask("ping")
        await by_client.socket.close(4321)
        next(c for c in one.replica.hub.connections if c.connection_id == by_server.ready["connection_id"]).close(
            CloseCode.TRY_AGAIN_LATER
        )
        await by_server.closed()
        by_nobody.socket.transport.abort()
        async with asyncio.timeout(TIMEOUT_S):
            while len(ends(caplog)) < 3:
                await asyncio.sleep(0.005)
    told = ends(caplog)
    assert told[by_client.ready["connection_id"]]["code"] == 4321
    assert told[by_client.ready["connection_id"]]["frames"] == 1
    assert told[by_client.ready["connection_id"]]["user_id"] == user.id
    assert told[by_server.ready["connection_id"]]["code"] == CloseCode.TRY_AGAIN_LATER
    assert told[by_nobody.ready["connection_id"]]["code"] in (1005, 1006)  # servers say it differently


def ends(caplog: pytest.LogCaptureFixture) -> dict[str, dict[str, Any]]:
    return {
        record.__dict__["connection_id"]: record.__dict__
        for record in caplog.records
        if record.getMessage() == "connection closed"
    }
