"""What requests bring, and how it is read: JSON or a form, on every endpoint alike.

Types are checked here, rules that users can break (lengths, existence) by the services. Unknown fields are ignored.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from chatapp.protocol.ids import AnyId

# ``extra_json_schema`` tells of rules that services check. Lengths that count after trimming have no maximum there.
_Username = Annotated[
    str,
    Meta(
        description="3 to 50 characters after trimming, unique without regard to case.",
        extra_json_schema={"minLength": 3},
    ),
]
_Password = Annotated[
    str,
    Meta(
        description="6 to 1024 characters.", extra_json_schema={"format": "password", "minLength": 6, "maxLength": 1024}
    ),
]
_DisplayName = Annotated[str, Meta(description="At most 100 characters.")]
_ChatName = Annotated[str, Meta(description="1 to 100 characters; a direct chat needs none.")]
_MemberIds = Annotated[
    list[AnyId],
    Meta(
        description="1 to 1000 ids. In a form: repeated, or with commas between.",
        extra_json_schema={"minItems": 1, "maxItems": 1000},
    ),
]
_Content = Annotated[
    str,
    Meta(
        description="1 to limits.content_bytes bytes of UTF-8, not only white space.",
        extra_json_schema={"minLength": 1},
    ),
]


class Register(Struct, frozen=True):
    """A new account."""

    username: _Username
    password: _Password
    display_name: _DisplayName = ""


class Login(Struct, frozen=True):
    """A name and its password."""

    username: str
    password: Annotated[str, Meta(extra_json_schema={"format": "password"})]


class UpdateUser(Struct, frozen=True):
    """What is to change; what is left out stays."""

    display_name: _DisplayName | UnsetType = UNSET
    password: _Password | UnsetType = UNSET


class CreateChat(Struct, frozen=True):
    """A group, or a direct chat with one other member."""

    is_group: bool
    member_ids: _MemberIds
    name: _ChatName = ""


class RenameChat(Struct, frozen=True):
    """Another name."""

    name: _ChatName


class AddMembers(Struct, frozen=True):
    """Who is to become a member."""

    member_ids: _MemberIds


class SetAdmin(Struct, frozen=True):
    """The role."""

    is_admin: bool


class SendMessage(Struct, frozen=True):
    """A message and where to."""

    chat_id: AnyId
    content: _Content


class EditMessage(Struct, frozen=True):
    """Other content."""

    content: _Content
