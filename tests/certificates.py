"""An authority of the tests' own, the certificates that it signs, and something that ends TLS before a plain server."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from msgspec import Struct

_PEM = serialization.Encoding.PEM
_SSL_REQUEST = bytes.fromhex("0000000804d2162f")


class Pair(Struct, frozen=True):
    """A certificate and its key, in PEM."""

    certificate: Path
    key: Path
    serial: int

    def replace_with(self, other: Pair) -> None:
        """Put the other's contents into these files, the key first."""
        self.key.write_bytes(other.key.read_bytes())
        self.certificate.write_bytes(other.certificate.read_bytes())

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context


class Authority:
    """Signs what it is asked to."""

    def __init__(self, directory: Path, name: str = "authority") -> None:
        self._directory = directory
        self._name = name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        usage = x509.KeyUsage(
            digital_signature=True,
            key_cert_sign=True,
            crl_sign=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        own = (
            self._begun(self._subject, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.file = directory / f"{name}.pem"
        self.file.write_bytes(own.public_bytes(_PEM))

    def issue(self, *hosts: str, name: str = "server") -> Pair:
        """A pair for these names and addresses, in files that begin with ``name``."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, hosts[0])])
        made = (
            self._begun(subject, key.public_key())
            .add_extension(x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        pair = Pair(self._directory / f"{name}.crt", self._directory / f"{name}.key", made.serial_number)
        pair.certificate.write_bytes(made.public_bytes(_PEM))
        plain = serialization.NoEncryption()
        pair.key.write_bytes(key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, plain))
        pair.key.chmod(0o600)
        return pair

    def client_context(self) -> ssl.SSLContext:
        """Trusts this authority alone."""
        return ssl.create_default_context(cafile=self.file)

    def _begun(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(self._subject, subject, key, x509.random_serial_number())
        return (
            builder.not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


class Terminator:
    """Speaks TLS on one side, and plainly with a server of this host on the other."""

    def __init__(self, tls: ssl.SSLContext | None, inner_port: int, *, postgres: bool = False) -> None:
        self._tls = tls
        self._inner_port = inner_port
        self._postgres = postgres
        self._open: list[asyncio.StreamWriter] = []
        self.port = 0
        self.heard = bytearray()
        """What clients said within TLS, or instead of it."""
        self.is_broken = False
        """End each handshake of TLS with an alert."""
        if tls is not None:
            tls.sni_callback = self._greeted

    def drop(self) -> None:
        """End what is open."""
        while self._open:
            self._open.pop().close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, to its end."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            if self._postgres:
                assert await reader.readexactly(8) == _SSL_REQUEST
                writer.write(b"N" if self._tls is None else b"S")
                if self._tls is not None:
                    await writer.start_tls(self._tls)
            self._open.append(writer)
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._inner_port)
            await asyncio.gather(_copy(reader, inner_writer, self.heard), _copy(inner_reader, writer, bytearray()))
        writer.close()

    def _greeted(self, secured: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> int | None:
        return ssl.ALERT_DESCRIPTION_INTERNAL_ERROR if self.is_broken else None


@asynccontextmanager
async def terminator(
    tls: ssl.SSLContext | None, inner_port: int, *, postgres: bool = False, port: int = 0
) -> AsyncIterator[Terminator]:
    """A ``Terminator`` that serves.

    ``postgres``: TLS is asked for first, as PostgreSQL wants it; without a context it is then denied.
    """
    made = Terminator(tls, inner_port, postgres=postgres)
    server = await asyncio.start_server(made.serve, "127.0.0.1", port, ssl=None if postgres else tls)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        made.drop()
        server.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bytearray) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            kept += data
            writer.write(data)
            await writer.drain()
    writer.close()
