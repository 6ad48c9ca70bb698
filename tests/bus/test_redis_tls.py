"""``rediss://``: through a TLS terminator, for the Valkey of the packages is built without TLS."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from chatapp.bus.limits import RedisBusLimits
from chatapp.bus.redis import RedisBus
from tests.bus.private_valkey import PrivateValkey
from tests.bus.recorder import Recorder

LIMITS = RedisBusLimits(subscribe_timeout_s=2.0, close_timeout_s=0.2)


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[PrivateValkey]:
    valkey = PrivateValkey(tmp_path, password="open-sesame")
    valkey.start()
    yield valkey
    valkey.kill()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate of 127.0.0.1 that signs itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "certificate.pem"
    pem = serialization.Encoding.PEM
    path.write_bytes(
        made.public_bytes(pem) + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


@pytest.fixture
async def terminator_port(valkey: PrivateValkey, certificate: Path) -> AsyncIterator[int]:
    """Speaks TLS on one side and plainly with the Valkey on the other."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", valkey.port)
        await asyncio.gather(copy(reader, inner_writer), copy(inner_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def test_a_trusted_server_is_spoken_to_over_tls(terminator_port: int, certificate: Path) -> None:
    bus, recorder = (
        RedisBus.from_url(f"rediss://:open-sesame@127.0.0.1:{terminator_port}/0?ssl_ca_certs={certificate}", LIMITS),
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
