"""A replica with a certificate of its own: HTTPS and wss, and another certificate while it serves."""

from __future__ import annotations

import json
import signal
import socket as sockets
import ssl
import warnings
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect

from chatapp.app.tls import ServerCertificate
from tests.acceptance.client import PASSWORD
from tests.acceptance.replicas import ReplicaProcess, Replicas, wait_until
from tests.certificates import Authority, Pair

pytestmark = pytest.mark.alone


class Secured:
    """One replica over HTTPS, and what it takes to talk to it."""

    def __init__(self, replica: ReplicaProcess, authority: Authority, pair: Pair) -> None:
        self.replica, self.authority, self.pair = replica, authority, pair
        self.url = f"https://127.0.0.1:{replica.port}"
        self.http = httpx.Client(verify=authority.client_context(), trust_env=False, base_url=self.url)

    def serial(self, context: ssl.SSLContext | None = None) -> int:
        """Of the certificate that a new connection is shown."""
        with (
            sockets.create_connection(("127.0.0.1", self.replica.port), timeout=10) as plain,
            (context or self.authority.client_context()).wrap_socket(plain, server_hostname="127.0.0.1") as secured,
        ):
            certificate = secured.getpeercert()
            assert certificate is not None
            return int(str(certificate["serialNumber"]), 16)


@pytest.fixture(scope="module")
def secured(site: Replicas, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    authority = Authority(tmp_path_factory.mktemp("authority"))
    pair = authority.issue("127.0.0.1")
    replica = site.begin(
        CHATAPP_GENERAL__TLS_CERT_FILE=str(pair.certificate), CHATAPP_GENERAL__TLS_KEY_FILE=str(pair.key)
    )
    made = Secured(replica, authority, pair)

    def is_ready() -> bool:
        assert replica.process.poll() is None, replica.output
        try:
            return made.http.get("/health/ready").status_code == 200
        except httpx.TransportError:
            return False

    wait_until(is_ready, 30.0, replica.log)
    yield made
    made.http.close()


async def test_rest_and_sockets_work_over_tls_while_the_certificate_changes(secured: Secured) -> None:
    body = {"username": "secured", "password": PASSWORD}
    token = secured.http.post("/api/v1/auth/register", json=body).raise_for_status().json()["token"]
    mine = {"Authorization": f"Bearer {token}"}
    chat = {"name": "climbing", "is_group": True, "member_ids": [1]}
    chat_id = secured.http.post("/api/v1/chats", json=chat, headers=mine).raise_for_status().json()["id"]
    url = f"wss://127.0.0.1:{secured.replica.port}/ws"
    async with connect(url, ssl=secured.authority.client_context(), additional_headers=mine, proxy=None) as opened:

        async def said(content: str) -> None:
            command = {"type": "message", "payload": {"chat_id": chat_id, "content": content}}
            await opened.send(json.dumps(command))
            while (event := json.loads(await opened.recv()))["type"] != "message":
                pass
            assert event["payload"]["content"] == content

        await said("x" * 16000)
        first = secured.serial()
        assert first == secured.pair.serial
        # A key without its certificate is no pair: nothing changes.
        other = secured.authority.issue("127.0.0.1", name="next")
        secured.pair.key.write_bytes(other.key.read_bytes())
        secured.replica.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "the certificate stays as it is" in secured.replica.output, 10.0, secured.replica.log)
        assert secured.serial() == first
        secured.pair.replace_with(other)
        secured.replica.process.send_signal(signal.SIGHUP)
        # No handshake is refused meanwhile, of however many.
        shown = [secured.serial()]
        for _ in range(2000):
            shown.append(secured.serial())
            if shown[-1] == other.serial:
                break
        assert shown == sorted(shown, key=[first, other.serial].index)
        assert shown[-1] == other.serial
        await said("still here")
    assert "Traceback" not in secured.replica.output


def test_old_versions_and_ciphers_of_tls_are_refused(secured: Secured) -> None:
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        old = secured.authority.client_context()
        old.set_ciphers("ALL:@SECLEVEL=0")
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    weak = secured.authority.client_context()
    weak.set_ciphers("AES128-SHA:AES256-SHA:ECDHE-ECDSA-AES128-SHA")
    weak.maximum_version = ssl.TLSVersion.TLSv1_2
    for refused in (old, weak):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            secured.serial(refused)
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        good = secured.authority.client_context()
        good.minimum_version = good.maximum_version = version
        assert secured.serial(good)


def test_who_speaks_plainly_is_not_answered_and_costs_nothing(secured: Secured) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{secured.replica.port}/health", trust_env=False)
    assert secured.http.get("/health").status_code == 200
    assert "Traceback" not in secured.replica.output


def test_half_of_a_new_pair_leaves_the_old_one_whole(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair, other = authority.issue("127.0.0.1"), authority.issue("127.0.0.1", name="other")
    certificate = ServerCertificate(pair.certificate, pair.key)
    before = certificate.context
    pair.certificate.write_bytes(other.certificate.read_bytes())
    certificate.read_anew()
    pair.certificate.unlink()
    certificate.read_anew()
    assert certificate.context is before
