"""Words for these tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from chatapp.config import ConfigError, Settings, load

STRONG_KEY = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
BOTH = {"DATABASE_URL": "postgres://u:p@db/chat", "REDIS_URL": "redis://cache"}
PRODUCTION = {
    "DATABASE_URL": "postgres://u:p@db/chat?sslmode=verify-full&sslrootcert=system",
    "REDIS_URL": "rediss://cache",
    "CHATAPP_GENERAL__ENVIRONMENT": "production",
    "CHATAPP_LIMITS__ALLOWED_ORIGINS": "https://chat.example.org",
}
"""All that production wants, but for a key."""


def from_environ(**environ: str) -> Settings:
    """What these variables make, without a file."""
    return load(None, environ)


def from_yaml(directory: Path, text: str, **environ: str) -> Settings:
    """What this file makes."""
    (directory / "config.yaml").write_text(text, encoding="utf-8")
    return load(directory, environ)


def problems_of(path: Path | None = None, /, **environ: str) -> dict[str, str]:
    """What is wrong with these variables (and this file), by key."""
    with pytest.raises(ConfigError) as raised:
        load(path, environ)
    return {problem.key: str(problem) for problem in raised.value.problems}


def problems_of_yaml(directory: Path, text: str, **environ: str) -> dict[str, str]:
    """What is wrong with this file, by key."""
    (directory / "config.yaml").write_text(text, encoding="utf-8")
    return problems_of(directory, **environ)
