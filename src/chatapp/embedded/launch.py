"""A small program that becomes another: ``python -I -S launch.py [--detach FD] [--user UID:GID] -- COMMAND…``.

``--detach FD``: as a process of its own session, that a Ctrl-C in our terminal does not reach and that nobody has to
wait for. Its process id is written to FD, which it keeps open, and with it the lock on that file.
``--user UID:GID``: as this user, for PostgreSQL refuses to be root.

A user that is not root may not pass directories such as a home of mode 0700, and both the installed package and the
start directory may be below one. To open such directories to everybody would be worse than what PostgreSQL is
protected from, so the command keeps one capability, CAP_DAC_OVERRIDE, as an ambient one (capabilities(7)), where the
system has such a thing and we have it to give: also in a container with the usual capabilities. Otherwise it runs
without, and fails if it cannot reach its files.

This runs between fork and exec of a server, in an interpreter of its own, so that nothing of it happens in a process
that may have threads. It uses the standard library only.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import sys

_CAP_DAC_OVERRIDE = 1
_PR_SET_KEEPCAPS = 8
_PR_GET_SECUREBITS = 27
_PR_SET_SECUREBITS = 28
_SECBIT_NO_SETUID_FIXUP = 1 << 2
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAPABILITY_VERSION_3 = 0x20080522


def main() -> None:
    """Become the command. Never returns: if that fails, the process ends with 126 and the reason on stderr."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--detach", type=int, metavar="FD")
    parser.add_argument("--user", metavar="UID:GID")
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args()
    os.umask(0o077)
    if arguments.detach is not None:
        _detach(arguments.detach)
    try:
        if arguments.user is not None:
            uid, _, gid = arguments.user.partition(":")
            _become(int(uid), int(gid))
        os.execv(arguments.command[0], arguments.command)  # noqa: S606
    except OSError as error:
        print(f"cannot run {arguments.command[0]}: {error}", file=sys.stderr, flush=True)  # noqa: T201
        os._exit(126)


def _detach(fd: int) -> None:
    if os.fork():
        os._exit(0)
    os.setsid()
    os.ftruncate(fd, 0)
    os.pwrite(fd, str(os.getpid()).encode(), 0)


def _become(uid: int, gid: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    if libc is not None:
        libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
        # Without it access(2), by which PostgreSQL finds its own programs, knows nothing of the capability.
        libc.prctl(_PR_SET_SECUREBITS, libc.prctl(_PR_GET_SECUREBITS, 0, 0, 0, 0) | _SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if libc is not None:
        word = ctypes.c_uint32
        mask = 1 << _CAP_DAC_OVERRIDE
        header = (word * 2)(_CAPABILITY_VERSION_3, 0)
        effective_permitted_inheritable = (word * 6)(mask, mask, mask, 0, 0, 0)
        if libc.capset(header, effective_permitted_inheritable) == 0:
            libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_OVERRIDE, 0, 0)


if __name__ == "__main__":
    main()
