"""Another key while two replicas serve: in each step, a token of either replica is good at both (docs/keys.md)."""

from __future__ import annotations

import secrets
import signal
from pathlib import Path

import httpx
import pytest

from chatapp.auth.keys import SigningKey
from tests.acceptance.client import PASSWORD
from tests.acceptance.replicas import ReplicaProcess, Replicas, wait_until

pytestmark = pytest.mark.alone

OLD, NEW = secrets.token_hex(32), secrets.token_hex(32)
HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


class Keys:
    """The two files that both replicas read."""

    def __init__(self, directory: Path) -> None:
        self.current, self.old = directory / "key", directory / "old_keys"

    @property
    def settings(self) -> dict[str, str]:
        return {"PASETO_KEY": "", "PASETO_KEY_FILE": str(self.current), "PASETO_OLD_KEYS_FILE": str(self.old)}


def fingerprint(key: str) -> str:
    return SigningKey(bytes.fromhex(key)).key_id


def login(replica: ReplicaProcess) -> str:
    body = {"username": "Rotating", "password": PASSWORD}
    return str(httpx.post(f"{replica.url}/api/v1/auth/login", json=body, trust_env=False).json()["token"])


def newest(replica: ReplicaProcess) -> str:
    """What it said of its keys last."""
    return replica.output.rpartition("tokens are now sealed with the key")[2]


def status(replica: ReplicaProcess, token: str) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.get(f"{replica.url}/api/v1/auth/me", headers=headers, trust_env=False).status_code


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    made = Keys(tmp_path)
    made.current.write_text(OLD)
    made.old.write_text("")
    return made


def test_a_key_is_changed_without_a_restart_and_every_token_is_good_at_every_replica(
    site: Replicas, keys: Keys
) -> None:
    two = site.start(2, CHATAPP_LOGGER__LOG_LEVEL="debug", **keys.settings)
    body = {"username": "Rotating", "password": PASSWORD}
    assert httpx.post(f"{two[0].url}/api/v1/auth/register", json=body, trust_env=False).status_code == 201
    tokens: list[str] = []

    def step(key: Path, *content: str, told: str) -> None:
        """Write one of the files; one replica is told, the other looks by itself."""
        key.write_text("\n".join(content))
        two[0].process.send_signal(signal.SIGHUP)
        wait_until(lambda: all(told in newest(replica) for replica in two), 15.0)

    def every_token_is_good() -> None:
        tokens.extend(login(replica) for replica in two)
        assert [status(replica, token) for replica in two for token in tokens] == [200] * 2 * len(tokens)

    every_token_is_good()
    step(keys.old, OLD, NEW, told=f"{fingerprint(OLD)}, and opened too with {fingerprint(NEW)}")
    every_token_is_good()
    step(keys.current, NEW, told=f"{fingerprint(NEW)}, and opened too with {fingerprint(OLD)}")
    every_token_is_good()
    of_the_old_key, of_the_new_key = tokens[:4], tokens[4:]
    keys.current.write_text("what is no key changes nothing")
    two[0].process.send_signal(signal.SIGHUP)
    wait_until(lambda: "the keys stay as they are" in two[0].output, 15.0)
    assert status(two[0], tokens[0]) == 200
    keys.current.write_text(NEW)
    keys.old.write_text("")
    two[0].process.send_signal(signal.SIGHUP)
    wait_until(lambda: all(status(replica, tokens[0]) == 401 for replica in two), 15.0)
    for replica in two:
        assert {status(replica, token) for token in of_the_old_key} == {401}
        assert {status(replica, token) for token in of_the_new_key} == {200}
    for query in ("ticket=unmistakable", "x=1&ticket=unmistakable", f"token={tokens[0]}"):
        assert httpx.get(f"{two[0].url}/ws?{query}", headers=HANDSHAKE, trust_env=False).status_code == 401
    for secret in (OLD, NEW, "what is no key", "unmistakable", "v4.local.", "Traceback"):
        assert secret not in two[0].output + two[1].output


def test_workers_are_told_too(site: Replicas, keys: Keys) -> None:
    (host,) = site.start(1, "--workers", "2", **keys.settings)
    wait_until(lambda: host.output.count("tokens are sealed with the key") == 2, 30.0, host.log)
    keys.old.write_text(NEW)
    host.process.send_signal(signal.SIGHUP)
    wait_until(lambda: host.output.count("tokens are now sealed with the key") == 2, 15.0, host.log)
    assert host.process.poll() is None


def test_workers_that_are_told_while_they_start_start_all_the_same(site: Replicas, keys: Keys) -> None:
    host = site.begin("--workers", "2", port=0, **keys.settings)
    wait_until(lambda: "chatapp listens on" in host.output, 30.0, host.log)

    def told_and_started() -> bool:
        host.process.send_signal(signal.SIGHUP)
        return host.output.count("tokens are sealed with the key") >= 2

    wait_until(told_and_started, 30.0, host.log)
    assert "a worker ended" not in host.output
    assert host.process.poll() is None
