"""The second half of ``docs/security.md``, made from the tables that the tests go through; the first is kept."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.security.doors import DOORS, GUARDS
from tests.security.inputs import FRAMES, HANDSHAKES, PROVEN, REQUESTS
from tests.security.permissions import COMMANDS, ROLES, ROUTES, Row

_PAGE = Path(__file__).with_name("security.md")
_MADE = "<!-- From here on made by docs/generate.py "

_INPUTS = """\
## Hostile inputs

What broken, careless and hostile clients send, and what they get. Every row is a test; after each nothing was
logged as an error, no token stands in a log, and after all of them the replica serves as before.

    make test ARGS=tests/security/test_inputs.py

More than anybody can list is tried by `make fuzz SECONDS=60`: requests made from the description of the interface
(`/schema/openapi.json`), and random commands on sockets against a model of what must come of them. It tells how long
others waited for a `pong` meanwhile: in a minute on 2 cores that everything shared, 2,035 requests and nothing wrong,
4.7 ms at p99 and 40.8 ms at most.

In a request that is refused, the code stands in `code`; on a socket, in the `error`. A socket that is not said to close
stays open.
"""

_HERE = "`security/test_inputs.py`"
_PERMISSIONS = """\
## Who may do what

Every cell is asked, and a route or command without a row fails the tests:

    make test ARGS=tests/security/test_permissions.py
"""

_HIDDEN = """\
### What cannot be found out

- Whether there is a chat: a stranger gets the same bytes for a chat of others and for one that does not exist, over
  REST and on sockets. (`DELETE /chats/{chat_id}`, and messages asked for by id, do tell 403 from 404: ids are numbers
  in a row, and say nothing but that somebody made a chat or sent a message.)
- Whether there is an account: `POST /auth/login` answers the same, after one computation of argon2, for a name that
  nobody has, a wrong password, a deleted and a suspended user. Who knows the password of a suspended account is told.
  Users are found by name through `GET /users` by everybody who has an account; registering tells that a name is taken.
- That a user was deleted: the answers are those of a user who never was.
"""

_DOORS = """\
## The doors

SQL stands in `storage/` alone. These are all the places above it that reach chats, memberships and messages, each with
what keeps strangers out; another place fails the tests:

    make test ARGS=tests/security/test_doors.py
"""


def security_page() -> str:
    """``docs/security.md``."""
    kept, mark, made = _PAGE.read_text(encoding="utf-8").partition(_MADE)
    note = made.partition("\n")[0]
    return "\n".join((f"{kept}{mark}{note}\n", _inputs(), _permissions()))


def _inputs() -> str:
    rows: list[tuple[int, str, str, str]] = []
    for request in REQUESTS:
        answer = f"{request.status}{f' `{request.code}`' if request.code else ''}"
        rows.append((request.number, request.name, answer, _HERE))
    rows += [(one.number, f"handshake: {one.name}", f"{one.status} `{one.code}`", _HERE) for one in HANDSHAKES]
    for frame in FRAMES:
        closes = f"closed with {frame.closes}" if frame.closes else "stays open"
        answer = ", then ".join(filter(None, (f"`{frame.code}`" if frame.code else "", closes)))
        rows.append((frame.number, frame.name, answer, _HERE))
    for proven in PROVEN:
        where = ", ".join(f"`{place}`" for place in proven.where)
        rows.append((proven.number, proven.name, proven.answer, where))
    rows.sort(key=lambda row: row[0])
    return "\n".join(
        (
            _INPUTS,
            "### Over HTTP\n",
            _table(("", "What comes", "Answer", "Test"), (row for row in rows if row[0] <= 46)),
            "### On sockets\n",
            _table(("", "What comes", "Answer", "Test"), (row for row in rows if row[0] > 46)),
        )
    )


def _permissions() -> str:
    roles = "\n".join(f"- **{role}** {what}" for role, what in ROLES.items())
    doors = [(f"`{at}`", f"`{statement}`", guard) for at, door in DOORS.items() for statement, guard in door.items()]
    guards = "\n".join(f"- *{guard}*: {what}" for guard, what in GUARDS.items())
    return "\n".join(
        (
            _PERMISSIONS,
            f"{roles}\n",
            "### Routes\n",
            _matrix("Route", ROUTES),
            "### Commands on sockets\n",
            "Who has no valid token gets no connection.\n",
            _matrix("Command", COMMANDS),
            _HIDDEN,
            _DOORS,
            f"{guards}\n",
            _table(("Where", "What", "Kept by"), doors),
        )
    )


def _matrix(first: str, rows: Iterable[Row]) -> str:
    def cells(row: Row) -> tuple[object, ...]:
        return (f"`{row.what}`", *(row.expected(role) for role in ROLES), row.note)

    return _table((first, *ROLES, ""), map(cells, rows))


def _table(head: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"
