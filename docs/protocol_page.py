"""``docs/protocol.md``, made from the types in ``chatapp.protocol``."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from enum import IntEnum
from typing import get_args

import msgspec
from msgspec import inspect as types

from chatapp import errors
from chatapp.protocol import commands, events
from chatapp.protocol.codes import CloseCode

_INTRODUCTION = """\
# The protocol of the socket

<!-- Made by docs/generate.py from src/chatapp/protocol: change it there. -->

`GET /ws?token=<token>`, or with `Authorization: Bearer <token>`, or (for browsers) with the subprotocols
`chatapp.v1, bearer.<token>`, of which `chatapp.v1` is answered. A client that can only put
something into the address, and wants no token there, takes `/ws?ticket=<ticket>`: `POST /api/v1/auth/ws-ticket` gives
one, for one socket, within 30 s; the socket ends when the token does that the ticket was bought with. What is refused
is answered in HTTP before the upgrade: 401 without a valid token or unused ticket, 403 for a foreign `Origin`, 429 for
what this user or address does too often, 503 for what has nothing to do with them (see "Coming back").

Frames are JSON text, `{"type": …, "payload": {…}}`. A command may carry an `id`; the `ack` or `error` that answers it
carries the same. Fields that are not known are ignored, in both directions.

A connection follows all chats of its user from the start. With `?follow=none` it starts with none, and `join_chat` adds
them one by one. With `?resume=<chat>:<seq>,…` those chats are replayed from the given positions right after `ready`.

For programs the same is described as [AsyncAPI 3](asyncapi.yaml); every replica serves it at `/schema/asyncapi.json`.

## Positions

Everything lasting that happens in a chat has a number there: 1, 2, 3 … without a gap, the same for everyone. A message
has the `seq` of its sending; an edit or deletion takes the next number as its `changed_seq`. A client's position in a
chat is the highest of either that it has seen, or that an `ack` of `join_chat` or `resume` told.

After a reconnection `join_chat` with `after_seq` gives what came after that position, ascending: every message once, in
its newest state, and every older message that changed since (`message_updated`, `message_deleted`) at the number of its
newest change. So the position is right at any moment, also when the connection breaks within a replay. Numbers of
changes that a later change replaced are skipped. Then comes the `ack` with the chat's position, and what happens from
there on, without gap or repeat. `resync_required` means that a replay would be too long (`delivery.replay_limit`) or
that the position is not one of this chat's. Then take the chat's `last_seq` from `GET /api/v1/chats/{id}`, read
`GET /api/v1/messages/chat/{id}?after=…` page by page, and join with that `last_seq`. The pages hold messages in their
newest state, not the changes of older ones: read the older pages anew when they are shown.

`epoch` in `ready` changes when the database went back in time (a restored backup, a promoted standby). Positions of
another epoch are void: forget what you have and start over.

## Who is online

After `ready`, ask with `presence` for those whom you show; again after each reconnection, and for the people of a chat
that is new. Changes follow as `presence` events. They are told to connections that follow a direct chat with that user,
or a group of at most `presence.group_limit` members; in larger groups only who asks is told. They may come late, twice
or (for some seconds) not at all, and in the end they are right. Who is connected nowhere goes offline after
`presence.offline_after_s`; a reconnection within that time is told to nobody.

## Safe retries

Send with a `nonce` of your own and repeat the same command until it is acked, on any replica, over any connection:
there will be one message. Another content or chat under the same nonce is an `error` with `nonce_reused`.

## Coming back

Whoever is refused for a while is told for how long, and is not refused for asking again after that. Add a random part
of a second of your own, so that those who were refused together do not come back together.

- 429 `rate_limited`, of a request or handshake: you did this too often. Repeat it after `Retry-After` seconds. Logins
  are refused so after wrong passwords too, with waits that grow to 15 minutes.
- 429 `too_many_connections`, of a handshake: your user has as many sockets as it may at this replica. Close one.
- 503 `overloaded`: too many came at once. Come back after `Retry-After` seconds, which differ from client to client.
- 503 `replica_full` and `draining`, of a handshake: this replica takes no more. Come back after `Retry-After` seconds;
  the load balancer may find another.
- 503 `unavailable`: a part of the service is away. Repeat the request after `Retry-After` seconds, a message with the
  same key.
- An `error` with `rate_limited`: the command was not carried out. Send nothing for `retry_after` seconds (a number with
  a fraction), then repeat it.
- Close 4429: you went on all the same, or made nothing but errors. Connect again after a minute.
- Close 1013: connect again after some seconds, twice as many after each such close in a row.

Limits hold over all connections and replicas of a user. What is refused does not count.
"""


def protocol_page() -> str:
    """The whole page."""
    parts = [_INTRODUCTION, "## Commands\n"]
    parts += [_entry(kind) for kind in get_args(commands.Command)]
    parts += ["## Events\n"]
    parts += [_entry(kind) for kind in (*get_args(events.DirectEvent), *get_args(events.ChatEvent))]
    parts += ["## Close codes\n", f"{_doc(CloseCode)}\n", *_codes(CloseCode), "", "## Error codes\n"]
    parts += ["Of REST answers and `error` frames alike. Programs go by the code; the sentence may change.\n"]
    parts += ["| code | meaning |", "|---|---|", *_errors(errors.ChatAppError), ""]
    return "\n".join(parts)


def _entry(kind: type[msgspec.Struct]) -> str:
    info = types.type_info(kind)
    assert isinstance(info, types.StructType)
    lines = [f"### `{info.tag}`\n", f"{_doc(kind)}\n"]
    payload = next(field for field in info.fields if field.name == "payload").type
    if isinstance(payload, types.StructType) and payload.fields:
        if (said := _doc(payload.cls)) and payload.cls.__name__ != "Empty":
            lines.append(f"{said}\n")
        lines += ["| field | type |", "|---|---|"]
        lines += [f"| `{f.name}`{'' if f.required else '?'} | {_type(f.type)} |" for f in payload.fields]
        lines.append("")
    return "\n".join(lines)


def _type(kind: types.Type) -> str:
    match kind:
        case types.IntType(ge=low, le=high):
            bounds = [f"≥ {low}" if low is not None else "", f"≤ {high}" if high is not None and high < 2**53 else ""]
            return " ".join(["integer", *filter(None, bounds)])
        case types.StrType(min_length=low, max_length=high):
            return f"text of {low or 0} to {high} characters" if high is not None else "text"
        case types.BoolType():
            return "boolean"
        case types.FloatType():
            return "number"
        case types.DateTimeType():
            return "RFC 3339 time in UTC"
        case types.LiteralType(values=values):
            return " or ".join(f"`{value}`" for value in values)
        case types.ListType(item_type=item):
            return f"list of {_type(item)}"
        case types.DictType():
            return "object from chat id to position"
        case types.StructType(fields=fields):
            return "{" + ", ".join(f"`{field.name}`{'' if field.required else '?'}" for field in fields) + "}"
        case types.UnionType(types=options):
            named = [_type(option) for option in options if not isinstance(option, types.NoneType)]
            nothing = " or null" if any(isinstance(option, types.NoneType) for option in options) else ""
            return " or ".join(named) + nothing
        case _:
            return type(kind).__name__.removesuffix("Type").lower()


def _codes(codes: type[IntEnum]) -> Iterable[str]:
    yield "| code | name |"
    yield "|---|---|"
    for code in codes:
        yield f"| {code.value} | {code.name.lower().replace('_', ' ')} |"


def _errors(kind: type[errors.ChatAppError]) -> Iterable[str]:
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield f"| `{child.code}` | {_doc(child)} |"
            yield from _errors(child)


def _doc(thing: type) -> str:
    return " ".join((inspect.getdoc(thing) or "").replace("``", "`").split())
