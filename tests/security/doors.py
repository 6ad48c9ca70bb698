"""The doors to chats and messages: each place above storage that reads or changes one, and what keeps strangers out.

Storage's own modules are the only ones with SQL, so a use of ``storage.chats``, ``storage.members``,
``storage.messages``, ``storage.presence`` or ``storage.system_rows`` that is not in this table is a way around
it: ``test_doors.py`` finds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Guard = Literal["asks", "locked", "checked", "own", "positions", "new", "follows"]

GUARDS: Mapping[Guard, str] = {
    "asks": "the statement itself joins the asker's membership: without one it answers nothing, or refuses",
    "locked": "`services.chats.locked_for` has locked the chat and checked membership and role in the same transaction",
    "checked": "the lines around it check what the row belongs to: creator, pair or sender",
    "own": "only the actor's own memberships and what they lead to, for leaving and deleting the account",
    "new": "the chat is being made in this transaction",
    "positions": "numbers for the replica itself; no client is shown anything of it",
    "follows": "for connections whose membership was read after the room was open, and that are dropped with it",
}

DOORS: Mapping[str, Mapping[str, Guard]] = {
    "gateway/following.py Following._open": {"chats.last_seqs": "positions"},
    "gateway/following.py Following._may_open": {"members.membership": "asks"},
    "gateway/following.py Following._seen": {"members.membership": "asks"},
    "gateway/following.py Following._follow_at_once": {"members.membership": "asks"},
    "gateway/following.py Following.check_member": {"members.membership": "asks"},
    "gateway/repair.py Repair._compare": {"chats.last_seqs": "positions"},
    "gateway/repair.py Repair._fill": {"chats.last_seqs": "positions"},
    "gateway/repair.py Repair._compare_memberships": {"members.joined_since": "asks"},
    "gateway/repair.py Repair._tell": {"chats.get": "checked"},
    "gateway/starting.py Starting._start_group": {"members.positions_of": "asks"},
    "services/chats.py Chats.page": {"chats.page": "asks"},
    "services/chats.py Chats.get": {"chats.detail": "asks"},
    "services/chats.py Chats.rename": {
        "chats.rename": "locked",
        "chats.lock": "locked",
        "system_rows.append": "locked",
    },
    "services/chats.py Chats.delete": {"chats.lock": "checked", "chats.delete": "checked"},
    "services/chats.py Chats.mark_read": {"members.mark_read": "asks"},
    "services/chats.py Chats._create_group": {"chats.insert_group": "new"},
    "services/chats.py Chats._create_direct": {
        "chats.direct_key": "new",
        "chats.insert_direct": "new",
        "chats.direct": "checked",
    },
    "services/chats.py Chats._found": {"members.insert": "new"},
    "services/chats.py locked_for": {"chats.lock": "locked", "members.one": "locked"},
    "services/leaving.py leave": {
        "members.remove": "locked",
        "members.heirs": "locked",
        "members.set_admin": "locked",
        "chats.delete": "locked",
        "system_rows.append": "locked",
    },
    "services/members.py Members.page": {"members.page": "asks"},
    "services/members.py Members.add": {
        "members.among": "locked",
        "members.insert": "locked",
        "chats.lock": "locked",
        "system_rows.append": "locked",
    },
    "services/members.py Members.set_admin": {
        "members.one": "locked",
        "members.has_other_admin": "locked",
        "members.set_admin": "locked",
        "system_rows.append": "locked",
    },
    "services/members.py Members.remove": {"members.one": "locked"},
    "services/messages.py Messages.send": {"messages.get": "checked"},
    "services/messages.py Messages.get": {"messages.get_for": "asks"},
    "services/messages.py Messages.history": {"messages.history": "asks"},
    "services/messages.py Messages.between": {"messages.between": "follows"},
    "services/messages.py Messages.edit": {"messages.edit": "asks"},
    "services/messages.py Messages.delete": {"messages.delete": "asks"},
    "services/presence.py Audiences.known_to": {"presence.known_to": "asks"},
    "services/presence.py Audiences.with_chats": {"presence.chats_told": "follows"},
    "services/presence.py Announcer.announce": {"presence.touch": "own"},
    "services/users.py Users._delete_unless_joined_meanwhile": {
        "chats.concerning": "own",
        "chats.lock": "own",
        "chats.inherit": "own",
        "members.chats_of": "own",
    },
}

UNASKED = {"Messages.between": {"gateway/following.py", "gateway/repair.py"}}
"""Services that ask nobody's membership, and the only modules that may call them."""
