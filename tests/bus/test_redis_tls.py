"""``rediss://``: through a TLS terminator, for the Valkey of the packages is built without TLS."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from chatapp.bus.limits import RedisBusLimits
from chatapp.bus.redis import RedisBus
from tests.bus.private_valkey import PrivateValkey
from tests.bus.recorder import Recorder
from tests.certificates import Authority, terminator

LIMITS = RedisBusLimits(subscribe_timeout_s=2.0, close_timeout_s=0.2)


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[PrivateValkey]:
    valkey = PrivateValkey(tmp_path, password="open-sesame")
    valkey.start()
    yield valkey
    valkey.kill()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def terminator_port(valkey: PrivateValkey, authority: Authority) -> AsyncIterator[int]:
    async with terminator(authority.issue("127.0.0.1").server_context(), valkey.port) as server:
        yield server.port


async def test_a_trusted_server_is_spoken_to_over_tls(terminator_port: int, authority: Authority) -> None:
    bus, recorder = (
        RedisBus.from_url(f"rediss://:open-sesame@127.0.0.1:{terminator_port}/0?ssl_ca_certs={authority.file}", LIMITS),
        Recorder(),
    )
    await bus.start(recorder)
    assert await bus.subscribe([b"chat:1"])
    bus.publish(b"chat:1", b"x" * 200_000)
    await recorder.heard(b"chat:1", b"x" * 200_000)
    await bus.close()


async def test_a_server_that_is_not_trusted_is_not_given_the_password(
    terminator_port: int, valkey: PrivateValkey, caplog: pytest.LogCaptureFixture
) -> None:
    bus = RedisBus.from_url(f"rediss://:open-sesame@127.0.0.1:{terminator_port}/0", LIMITS)
    await bus.start(Recorder())
    assert await bus.subscribe([b"chat:1"]) is False
    await bus.close()
    assert "certificate verify failed" in caplog.text.lower()
    assert "sesame" not in caplog.text
    with valkey.admin() as admin:
        assert admin.pubsub_channels() == []
