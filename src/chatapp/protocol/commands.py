"""Everything a client may ask on a socket: one tagged union, ``{"type": …, "payload": {…}, "id"?: …}``.

``id`` comes back in the ``ack`` or ``error`` that answers the command. Fields that a command does not know are ignored.
"""

from __future__ import annotations

import json
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from chatapp.errors import Malformed
from chatapp.protocol.events import CommandRef
from chatapp.protocol.ids import AnyId, AnySeq

Nonce = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[^\x00]*$")]
"""1 to 64 characters, none of them NUL, of the client's choice; one message for each, however often it is sent."""
_Ref = Annotated[str, Meta(max_length=64)] | Annotated[int, Meta(ge=-(2**53), le=2**53)]


class _Command(Struct, frozen=True, tag_field="type"):
    pass


class SendPayload(Struct, frozen=True):
    """``content``: 1 to ``limits.content_bytes`` bytes of UTF-8, not blank."""

    chat_id: AnyId
    content: str
    nonce: Nonce | None = None


class SendMessage(_Command, frozen=True, tag="message"):
    """Send a message. Acked once it is on disk; everybody in the chat hears ``message``."""

    payload: SendPayload
    id: _Ref | UnsetType = UNSET


class JoinPayload(Struct, frozen=True):
    """``after_seq``: the last position that the client has seen; what came after it is replayed first."""

    chat_id: AnyId
    after_seq: AnySeq | None = None


class JoinChat(_Command, frozen=True, tag="join_chat"):
    """Follow a chat on this connection. Acked with the chat's position, after the replay."""

    payload: JoinPayload
    id: _Ref | UnsetType = UNSET


class ChatPayload(Struct, frozen=True):
    """Which chat."""

    chat_id: AnyId


class LeaveChat(_Command, frozen=True, tag="leave_chat"):
    """Follow a chat no more on this connection; the membership stays."""

    payload: ChatPayload
    id: _Ref | UnsetType = UNSET


class EditPayload(Struct, frozen=True):
    """The new content, with the same rules as for sending."""

    message_id: AnyId
    content: str


class EditMessage(_Command, frozen=True, tag="edit_message"):
    """Replace the content of one's own message."""

    payload: EditPayload
    id: _Ref | UnsetType = UNSET


class DeletePayload(Struct, frozen=True):
    """Which message."""

    message_id: AnyId


class DeleteMessage(_Command, frozen=True, tag="delete_message"):
    """Erase the content of one's own message, or as an admin of the group."""

    payload: DeletePayload
    id: _Ref | UnsetType = UNSET


class TypingNow(_Command, frozen=True, tag="typing"):
    """Tell the others that one is writing; more than once in 3 s is swallowed. Not acked."""

    payload: ChatPayload
    id: _Ref | UnsetType = UNSET


class ReadPayload(Struct, frozen=True):
    """How far one has read."""

    chat_id: AnyId
    seq: AnySeq


class MarkRead(_Command, frozen=True, tag="read"):
    """Move one's read mark forward. Acked with where it stands."""

    payload: ReadPayload
    id: _Ref | UnsetType = UNSET


class ResumePayload(Struct, frozen=True):
    """Chat id (as JSON's keys are: in quotes) to the last position seen in it. At most 500 chats."""

    positions: Annotated[dict[AnyId, AnySeq], Meta(max_length=500)]


class Resume(_Command, frozen=True, tag="resume"):
    """``join_chat`` with ``after_seq`` for many chats at once; each gets an ``ack`` or ``error`` of its own.

    Those of chats in which nothing was missed come first, the others in any order.
    """

    payload: ResumePayload
    id: _Ref | UnsetType = UNSET


class AskPayload(Struct, frozen=True):
    """Whose presence: 1 to 100 users. Those who share no chat with the asker are left out of the answer."""

    user_ids: Annotated[list[AnyId], Meta(min_length=1, max_length=100)]


class AskPresence(_Command, frozen=True, tag="presence"):
    """Ask who is online now. Answered by a ``presence`` event for each of them, and then acked.

    Changes are told from then on without asking, for people in direct chats and in groups of at most
    ``presence.group_limit`` members that this connection follows. Ask after ``ready`` (so after each reconnection too;
    with ``follow=none`` once the chats are joined) and when a chat is new.
    """

    payload: AskPayload
    id: _Ref | UnsetType = UNSET


class Nothing(Struct, frozen=True):
    """No payload needed."""


class Ping(_Command, frozen=True, tag="ping"):
    """Answered by ``pong`` at once."""

    payload: Nothing = msgspec.field(default_factory=Nothing)
    id: _Ref | UnsetType = UNSET


Command = (
    SendMessage
    | JoinChat
    | LeaveChat
    | EditMessage
    | DeleteMessage
    | TypingNow
    | MarkRead
    | Resume
    | AskPresence
    | Ping
)


class _Loose(Struct, frozen=True):
    """A frame that is no valid command, read for what its answer needs."""

    type: object = None
    id: object = None


_decode = msgspec.json.Decoder(Command).decode
_decode_loosely = msgspec.json.Decoder(_Loose).decode


def parse(text: bytes) -> Command:
    """A command from a frame's text.

    Raises ``msgspec.ValidationError`` for JSON that is no valid command (``reference`` and ``kind_of`` help to answer
    it), ``Malformed`` for what is not JSON or UTF-8, nested too deeply, or holds a key twice.
    """
    try:
        command: Command = _decode(text)
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Malformed("not valid JSON") from None
    except RecursionError:
        raise Malformed("nested too deeply") from None
    if _may_hold_a_key_twice(command, text):
        refuse_duplicate_keys(text)
    return command


def _may_hold_a_key_twice(command: Command, text: bytes) -> bool:
    """Quickly, for nearly all frames: whether a closer look is needed.

    With no white space before the colons there are at least as many ``":`` as keys; so if there are just as many as
    fields that were given, none of them is a second one. Escapes, which may hide a name, always get the closer look.
    """
    payload = command.payload
    keys = 2 + (command.id is not UNSET)
    if isinstance(payload, SendPayload):
        keys += 2 + (payload.nonce is not None)
    elif isinstance(payload, Nothing):
        return True  # which may have been left out
    elif isinstance(payload, ResumePayload):
        keys += 1 + len(payload.positions)
    else:
        keys += sum(getattr(payload, field) is not None for field in payload.__struct_fields__)
    # The cheapest that was found, for it is done for each message: a generator over ``in`` took twice as long.
    return (
        text.count(b'":') != keys
        or b"\\u" in text
        or b" :" in text
        or len(text.translate(None, b"\n\r\t")) != len(text)
    )


def reference(text: bytes) -> CommandRef | UnsetType:
    """The ``id`` of a frame that is no valid command, where it has a usable one."""
    try:
        ref = _decode_loosely(text).id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return UNSET
    if isinstance(ref, str) and len(ref) <= 64:
        return ref
    return ref if isinstance(ref, int) and not isinstance(ref, bool) and abs(ref) <= 2**53 else UNSET


def type_of(command: Command) -> str:
    """The word on the wire, such as ``join_chat``."""
    return str(command.__struct_config__.tag)


def is_known_type(text: bytes) -> bool:
    """Whether the frame's ``type`` names a command, so that the fault is in the rest."""
    try:
        kind = _decode_loosely(text).type
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return True
    return isinstance(kind, str) and kind in _TYPES


_TYPES = frozenset(
    {
        "message",
        "join_chat",
        "leave_chat",
        "edit_message",
        "delete_message",
        "typing",
        "read",
        "resume",
        "presence",
        "ping",
    }
)


def refuse_duplicate_keys(text: bytes) -> None:
    """Raise ``Malformed`` when an object in this (valid) JSON holds a key twice: readers differ on which one counts."""

    def once(pairs: list[tuple[str, object]]) -> None:
        if len({key for key, _ in pairs}) != len(pairs):
            raise Malformed("a key is given twice")

    try:
        json.loads(text, object_pairs_hook=once)
    except RecursionError:
        raise Malformed("nested too deeply") from None
    except ValueError:
        raise Malformed("not valid JSON") from None
