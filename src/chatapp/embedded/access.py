"""Where one of the own servers listens and how one gets in: ``<name>.json``, for our eyes only."""

from __future__ import annotations

import secrets
from pathlib import Path

import msgspec
from msgspec import Struct

from chatapp.embedded.files import write_private


class Access(Struct, frozen=True):
    """``port`` is of 127.0.0.1. It stays the same from start to start for as long as it is free."""

    port: int
    password: str


def read_access(path: Path) -> Access | None:
    """Read what is kept. None when nothing is, or when it cannot be understood any more."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Access)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def write_access(path: Path, access: Access) -> None:
    """Keep it. It is there whole or not at all."""
    write_private(path, msgspec.json.encode(access))


def new_password() -> str:
    """192 random bits, of characters that mean nothing to a URL, to SQL or to a configuration file."""
    return secrets.token_urlsafe(24)
