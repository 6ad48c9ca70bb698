"""A real replica with a canary in every secret setting: nothing that it says or shows has one in it."""

from __future__ import annotations

import json
import re
import secrets
import signal
import socket as sockets
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from chatapp.config.keys import keys
from tests.acceptance.replicas import CHATAPP, Replicas, bare_environment, replicas, wait_until
from tests.bus.private_valkey import PrivateValkey

pytestmark = pytest.mark.alone

WAYS = ("/", "/health", "/health/live", "/health/ready", "/metrics", "/ws/health", "/nowhere", "/schema/openapi.json")


def canary() -> str:
    return f"canary{secrets.token_hex(13)}"  # 32 characters, which a key may be


def test_no_secret_setting_and_no_password_or_token_of_a_user_is_told_anywhere(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    database = urlsplit(database_url)
    valkey = PrivateValkey(tmp_path / "valkey", password=canary())
    valkey.start()
    canaries = {
        "CHATAPP_AUTH__PASETO_KEY": canary(),
        "CHATAPP_AUTH__PASETO_OLD_KEYS": f"{canary()},{canary()}",
        "CHATAPP_POSTGRES_DB__PASS": canary(),  # not needed by the test's server, which shall be asked all the same
        "CHATAPP_POSTGRES_DB__URL": f"postgres://{database.username}:{database.password or canary()}@"
        f"{database.hostname}:{database.port}{database.path}",
        "CHATAPP_POSTGRES_DB__READ_URL": f"postgres://u:{canary()}@127.0.0.1:1/none?password={canary()}",
        "CHATAPP_REDIS__PASSWORD": canary(),
        "CHATAPP_REDIS__URL": valkey.url,
        "CHATAPP_TRACING__OTLP_HEADERS": f"authorization=Bearer {canary()}",
    }
    assert canaries.keys() == {key.env for key in keys().values() if key.is_secret}, "a secret without a canary"
    said: list[str] = []
    password = canary()
    hidden = set(re.findall(r"canary[0-9a-f]{26}", " ".join(canaries.values()))) | {password}
    environment = canaries | {
        "CHATAPP_LOGGER__LOG_LEVEL": "debug",
        "PASETO_KEY": "",
        "DATABASE_URL": "",
        "REDIS_URL": "",
    }
    try:
        with replicas(tmp_path, database_url, redis_url, **environment) as site:
            said += _of_a_replica(site, password, hidden)
    finally:
        valkey.kill()
    shown = {**bare_environment(), **environment}
    for words in (["config", "show"], ["config", "show", "--json"], ["config", "check"]):
        ran = subprocess.run(
            [CHATAPP, *words], env=shown, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=True
        )
        said.append(ran.stdout + ran.stderr)
    everything = "\n".join(said)
    assert len(hidden) >= len(canaries) + 2
    assert {secret for secret in hidden if secret in everything} == set()
    assert "Traceback" not in everything


def _of_a_replica(site: Replicas, password: str, hidden: set[str]) -> list[str]:
    """What it says while it is used and misused. Adds the tokens that it gave to what must be hidden."""
    (replica,) = site.start(1)
    said: list[str] = []
    with httpx.Client(base_url=replica.url, trust_env=False, timeout=15.0) as client:
        body = {"username": "canary-keeper", "password": password}
        token = client.post("/api/v1/auth/register", json=body).raise_for_status().json()["token"]
        ticket = client.post("/api/v1/auth/ws-ticket", headers={"Authorization": f"Bearer {token}"}).json()["ticket"]
        hidden |= {token, token[9:60], ticket}
        for way in (*WAYS, f"/ws?token={token}x", f"/api/v1/users?q={token}", f"/nowhere?ticket={ticket}"):
            answer = client.get(way)
            said.append(answer.text + str(answer.headers))
        for content in (b"{", b'{"username": "canary-keeper", "password": "wrong"}', json.dumps(body).encode()[:-1]):
            answer = client.post("/api/v1/auth/login", content=content, headers={"Content-Type": "application/json"})
            said.append(answer.text + str(answer.headers))
        handshake = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        handshake["Sec-WebSocket-Key"] = "dGhlIHNhbXBsZSBub25jZQ=="
        said.append(client.get(f"/ws?token=x{token}", headers=handshake).text)
        said.append(client.get("/api/v1/auth/me", headers={"Authorization": f"Bearer {token}x"}).text)
    with sockets.create_connection(("127.0.0.1", replica.port), timeout=10) as plain:
        plain.sendall(f"GET /{token} HTTP/9.9\r\nAuthorization Bearer {token}\r\n\r\n".encode())
        said.append(plain.recv(65536).decode(errors="replace"))
    said.append(Path(f"/proc/{replica.process.pid}/cmdline").read_text().replace("\0", " "))
    replica.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "tokens are sealed" in replica.output)
    replica.terminate()
    assert replica.wait() == 0
    assert any("chatapp_" in answer for answer in said), "there were no metrics"
    return [*said, replica.output]
