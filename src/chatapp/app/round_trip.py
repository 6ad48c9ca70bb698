"""A real message, as a user: from the socket over PostgreSQL and back to the socket."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import monotonic

from msgspec import Struct

from chatapp.client import CaughtUp, Client, ClientError, MessageSent, Session

_WITHIN_S = 10.0


class RoundTrip(Struct, frozen=True):
    """How long each step took."""

    login_s: float
    connect_s: float
    """From the end of the login to a live session."""
    ack_s: float
    """From the sending to the ack: on disk."""
    heard_s: float
    """From the sending to hearing the message."""


async def message_round_trip(urls: Sequence[str], username: str, password: str) -> RoundTrip:
    """Log in, write a line into the user's chat with themselves, hear it, delete it, log out.

    The chat's order keeps the place of the line. Raises ``ClientError``, ``TimeoutError`` after 10 s.
    """
    async with asyncio.timeout(_WITHIN_S), Client(*urls) as client:
        began = monotonic()
        signed_in = await client.login(username, password)
        logged_in = monotonic()
        try:
            chat = await client.chats.direct(signed_in.user.id)
            async with client.session(only=[chat.id]) as session:
                await _live(session)
                live = monotonic()
                ack = await session.send(chat.id, "chatapp doctor --probe")
                acked = monotonic()
                heard = await _heard(session, ack.message_id)
                if ack.message_id is not None:
                    await session.delete(ack.message_id)
        finally:
            await client.logout()
    return RoundTrip(logged_in - began, live - logged_in, acked - live, heard - live)


async def _live(session: Session) -> None:
    async for event in session:
        if isinstance(event, CaughtUp):
            return
    raise ClientError("the session ended before it was live")


async def _heard(session: Session, message_id: int | None) -> float:
    async for event in session:
        if isinstance(event, MessageSent) and event.payload.message_id == message_id:
            return monotonic()
    raise ClientError("the session ended before the message was heard")
