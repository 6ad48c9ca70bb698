"""The client can be used where the service is not installed."""

from __future__ import annotations

import subprocess
import sys

ALLOWED = {"httpx", "websockets", "msgspec"}
SERVICE = {"litestar", "uvicorn", "sqlalchemy", "asyncpg", "redis", "argon2", "pyseto", "dynaconf", "alembic"}


def test_importing_the_client_imports_nothing_of_the_service() -> None:
    code = "import sys, chatapp.client; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    modules = set(found.stdout.split())
    assert modules >= ALLOWED
    assert not modules & SERVICE
