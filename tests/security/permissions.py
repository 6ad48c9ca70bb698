"""Who may do what: one row for each route and each socket command, one cell for each who may come.

``docs/security.md`` is made from this table, and ``test_permissions.py`` asks every cell of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypedDict, Unpack

from msgspec import Struct

ROLES = {
    "nobody": "has no token",
    "stranger": "has never been a member of the chat",
    "former": "was a member once",
    "member": "is one, and has sent the message",
    "admin": "is a member and an admin of the group",
    "creator": "has made the group, and is an admin",
    "deleted": "deleted the account; the token would be valid still",
    "suspended": "was suspended by an operator; the token would be valid still",
}

OK = "ok"
NO_TOKEN = "401 missing_authorization_header"
BAD_TOKEN = "401 invalid_token"
OUTSIDE = "403 not_a_member"
NOT_ADMIN = "403 not_an_admin"
NOT_CREATOR = "403 not_the_creator"
NOT_YOURS = "403 not_your_message"
NOT_YOU = "403 not_yourself"
UNTOLD = "ok, nothing told"
SUSPENDED = "403 suspended"
NO_MEMBER = "404 member_not_found"
NO_SESSION = "404 session_not_found"
WRONG = "401 invalid_credentials"


class Stage(Struct, frozen=True):
    """What a request is about, in the words of the rows: the chat, the message, and others in the chat."""

    chat: int
    message: int
    """The member's."""
    other: int
    """A further member's user id."""
    session: int
    """Where the further member is logged in."""
    outsider: int
    """Somebody who is no member."""
    me: int
    """Who asks; 1 for nobody."""
    my_name: str
    fresh: str
    """A word that nobody has used before."""


class Row(Struct, frozen=True):
    """One route or command. A role that is not given may not, for want of a valid token."""

    what: str
    """``GET /chats/{chat_id}`` as the application has it, or a command's ``type``."""
    path: Callable[[Stage], str] = lambda stage: ""
    body: Callable[[Stage], Any] = lambda stage: None
    nobody: str = NO_TOKEN
    stranger: str = OK
    former: str = OK
    member: str = OK
    admin: str = OK
    creator: str = OK
    deleted: str = BAD_TOKEN
    suspended: str = BAD_TOKEN
    note: str = ""

    def expected(self, role: str) -> str:
        """The answer to this role."""
        answer: str = getattr(self, role)
        return answer


def _open(what: str, path: str, note: str = "") -> Row:
    return Row(what, lambda stage: path, nobody=OK, deleted=OK, suspended=OK, note=note)


_CHAT = "/chats/{chat_id}"
_MESSAGE = "/messages/{message_id}"

ROUTES = (
    _open("GET /", "//", note="the web client's page"),
    _open("GET /web/{path}", "//web/chatapp.js", note="the web client's files"),
    _open("GET /health", "//health"),
    _open("GET /health/live", "//health/live"),
    _open("GET /health/ready", "//health/ready"),
    _open("GET /ws/health", "//ws/health"),
    _open("GET /metrics", "//metrics", note="for operators: the load balancer does not pass it on"),
    _open("GET /api/v1/health", "/health"),
    _open("GET /api/v1/health/live", "/health/live"),
    _open("GET /api/v1/health/ready", "/health/ready"),
    Row(
        "POST /api/v1/auth/register",
        lambda stage: "/auth/register",
        lambda stage: {"username": stage.fresh, "password": "correct horse"},
        nobody=OK,
        deleted=OK,
        suspended=OK,
    ),
    Row(
        "POST /api/v1/auth/login",
        lambda stage: "/auth/login",
        lambda stage: {"username": stage.my_name, "password": "correct horse"},
        nobody=WRONG,
        deleted=WRONG,
        suspended=SUSPENDED,
        note="each with the right name and password; nobody with a name that there is not",
    ),
    Row("POST /api/v1/auth/logout", lambda stage: "/auth/logout"),
    Row("POST /api/v1/auth/refresh", lambda stage: "/auth/refresh"),
    Row("POST /api/v1/auth/ws-ticket", lambda stage: "/auth/ws-ticket"),
    Row("GET /api/v1/auth/me", lambda stage: "/auth/me"),
    Row("GET /api/v1/auth/sessions", lambda stage: "/auth/sessions", note="one's own"),
    Row("DELETE /api/v1/auth/sessions", lambda stage: "/auth/sessions", note="one's own others"),
    Row(
        "DELETE /api/v1/auth/sessions/{session_id}",
        lambda stage: f"/auth/sessions/{stage.session}",
        stranger=NO_SESSION,
        former=NO_SESSION,
        member=NO_SESSION,
        admin=NO_SESSION,
        creator=NO_SESSION,
        note="another's session; it is as if there were none",
    ),
    Row("GET /api/v1/users", lambda stage: "/users", note="every user may be found"),
    Row("GET /api/v1/users/{user_id}", lambda stage: f"/users/{stage.other}", note="anybody's profile"),
    Row(
        "PUT /api/v1/users/{user_id}",
        lambda stage: f"/users/{stage.other}",
        lambda stage: {"display_name": "x"},
        stranger=NOT_YOU,
        former=NOT_YOU,
        member=NOT_YOU,
        admin=NOT_YOU,
        creator=NOT_YOU,
        note="another's; one's own: ok",
    ),
    Row(
        "DELETE /api/v1/users/{user_id}",
        lambda stage: f"/users/{stage.other}",
        stranger=NOT_YOU,
        former=NOT_YOU,
        member=NOT_YOU,
        admin=NOT_YOU,
        creator=NOT_YOU,
        note="another's; one's own: ok",
    ),
    Row("POST /api/v1/users/last-seen", lambda stage: "/users/last-seen"),
    Row(
        "POST /api/v1/chats",
        lambda stage: "/chats",
        lambda stage: {"name": "x", "is_group": True, "member_ids": [stage.me]},
    ),
    Row("GET /api/v1/chats", lambda stage: "/chats", note="one's own"),
    Row(f"GET /api/v1{_CHAT}", lambda stage: f"/chats/{stage.chat}", stranger=OUTSIDE, former=OUTSIDE),
    Row(
        f"PUT /api/v1{_CHAT}",
        lambda stage: f"/chats/{stage.chat}",
        lambda stage: {"name": "other"},
        stranger=OUTSIDE,
        former=OUTSIDE,
        member=NOT_ADMIN,
    ),
    Row(
        f"DELETE /api/v1{_CHAT}",
        lambda stage: f"/chats/{stage.chat}",
        stranger=NOT_CREATOR,
        former=NOT_CREATOR,
        member=NOT_CREATOR,
        admin=NOT_CREATOR,
    ),
    Row(
        f"GET /api/v1{_CHAT}/members",
        lambda stage: f"/chats/{stage.chat}/members",
        stranger=OUTSIDE,
        former=OUTSIDE,
    ),
    Row(
        f"POST /api/v1{_CHAT}/members",
        lambda stage: f"/chats/{stage.chat}/members",
        lambda stage: {"member_ids": [stage.outsider]},
        stranger=OUTSIDE,
        former=OUTSIDE,
        member=NOT_ADMIN,
        note="oneself too: nobody lets himself in",
    ),
    Row(
        f"PATCH /api/v1{_CHAT}/members/{{member_id}}",
        lambda stage: f"/chats/{stage.chat}/members/{stage.me}",
        lambda stage: {"is_admin": True},
        stranger=OUTSIDE,
        former=OUTSIDE,
        member=NOT_ADMIN,
        note="oneself: nobody raises himself",
    ),
    Row(
        f"DELETE /api/v1{_CHAT}/members/{{member_id}}",
        lambda stage: f"/chats/{stage.chat}/members/{stage.other}",
        stranger=OUTSIDE,
        former=OUTSIDE,
        member=NOT_ADMIN,
        note="another; oneself: ok",
    ),
    Row(
        "POST /api/v1/messages",
        lambda stage: "/messages",
        lambda stage: {"chat_id": stage.chat, "content": "x"},
        stranger=OUTSIDE,
        former=OUTSIDE,
    ),
    Row(f"GET /api/v1{_MESSAGE}", lambda stage: f"/messages/{stage.message}", stranger=OUTSIDE, former=OUTSIDE),
    Row(
        "GET /api/v1/messages/chat/{chat_id}",
        lambda stage: f"/messages/chat/{stage.chat}",
        stranger=OUTSIDE,
        former=OUTSIDE,
    ),
    Row(
        f"PUT /api/v1{_MESSAGE}",
        lambda stage: f"/messages/{stage.message}",
        lambda stage: {"content": "y"},
        stranger=NOT_YOURS,
        former=NOT_YOURS,
        admin=NOT_YOURS,
        creator=NOT_YOURS,
    ),
    Row(
        f"DELETE /api/v1{_MESSAGE}",
        lambda stage: f"/messages/{stage.message}",
        stranger=NOT_YOURS,
        former=NOT_YOURS,
    ),
)


class _Cells(TypedDict, total=False):
    stranger: str
    former: str
    admin: str
    creator: str


def _command(kind: str, payload: Callable[[Stage], Any], note: str = "", **cells: Unpack[_Cells]) -> Row:
    """Without a valid token there is no connection, so no command."""
    given: _Cells = {"stranger": OUTSIDE, "former": OUTSIDE, **cells}
    return Row(kind, body=payload, nobody="401 missing_token", note=note, **given)


COMMANDS = (
    _command("message", lambda stage: {"chat_id": stage.chat, "content": "x"}),
    _command("join_chat", lambda stage: {"chat_id": stage.chat}),
    _command("resume", lambda stage: {"positions": {str(stage.chat): 0}}),
    _command(
        "leave_chat", lambda stage: {"chat_id": stage.chat}, stranger=OK, former=OK, note="nothing to leave is ok"
    ),
    _command(
        "edit_message",
        lambda stage: {"message_id": stage.message, "content": "y"},
        stranger=NOT_YOURS,
        former=NOT_YOURS,
        admin=NOT_YOURS,
        creator=NOT_YOURS,
    ),
    _command("delete_message", lambda stage: {"message_id": stage.message}, stranger=NOT_YOURS, former=NOT_YOURS),
    _command("typing", lambda stage: {"chat_id": stage.chat}, note="ok: told to the others, and not acked"),
    _command("read", lambda stage: {"chat_id": stage.chat, "seq": 1}),
    _command(
        "presence",
        lambda stage: {"user_ids": [stage.other]},
        stranger=UNTOLD,
        former=UNTOLD,
        note="of the further member: told to those who share a chat",
    ),
    _command("ping", lambda stage: {}, stranger=OK, former=OK),
)
