"""Private files that are there whole or not at all."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from chatapp.embedded.errors import OwnServicesError

KEY_BYTES = 32


def private_home(directory: Path) -> Path:
    """Return ``.chatapp`` under this directory: absolute, made if need be, and closed to everybody else (0700).

    Raises OwnServicesError when it is another user's, or cannot be made.
    """
    home = directory.absolute() / ".chatapp"
    try:
        home.mkdir(mode=0o700, exist_ok=True)
        there = home.stat()
        if os.geteuid() not in (0, there.st_uid):
            raise OwnServicesError(f"{home} belongs to another user: remove it, or start in another directory")
        if stat.S_IMODE(there.st_mode) != 0o700:
            home.chmod(0o700)
        ignored = home / ".gitignore"
        if not ignored.exists():
            write_private(ignored, b"*\n")
    except OSError as error:
        raise OwnServicesError(f"{home} cannot be used: {error.strerror}") from error
    return home


def write_private(path: Path, content: bytes) -> None:
    """Replace the file by this content, for our eyes only (0600). A crash leaves the old one or the new one."""
    draft = _draft(path, content)
    draft.replace(path)
    sync_directory(path.parent)


def signing_key(directory: Path) -> bytes:
    """Return the key that signs tokens: 32 random bytes, made for the first replica here, the same for all.

    It is kept in ``.chatapp/paseto_key``; to remove that file is to invalidate all tokens.
    Raises OwnServicesError when the file is not such a key.
    """
    path = private_home(directory) / "paseto_key"
    if not path.exists():
        draft = _draft(path, secrets.token_bytes(KEY_BYTES))
        try:
            path.hardlink_to(draft)  # unlike a rename, this lets the first of two win
        except FileExistsError:
            pass
        finally:
            draft.unlink()
        sync_directory(path.parent)
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise OwnServicesError(f"{path} is not a key of {KEY_BYTES} bytes: remove it to have a new one made")
    return key


def sync_directory(directory: Path) -> None:
    """Make what was created, renamed or removed in this directory survive a loss of power."""
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _draft(path: Path, content: bytes) -> Path:
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(fd)
    return draft
