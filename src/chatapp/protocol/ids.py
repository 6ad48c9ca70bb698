"""Ids and positions, as types of their own.

Every id is a positive 64-bit integer that PostgreSQL assigned. A ``Seq`` is a position in one chat: 1, 2, 3 …
without a gap, the same for everyone.
"""

from typing import Annotated, NewType

from msgspec import Meta

UserId = NewType("UserId", int)
ChatId = NewType("ChatId", int)
MessageId = NewType("MessageId", int)
Seq = NewType("Seq", int)
TokenId = NewType("TokenId", str)
"""The ``jti`` of a token."""
SessionId = NewType("SessionId", int)
"""One login and the tokens that were renewed from it."""
ConnectionId = NewType("ConnectionId", str)

MAX_INT64 = 2**63 - 1

AnyId = Annotated[int, Meta(ge=1, le=MAX_INT64)]
"""An id as a client writes it, before it is known whose."""
AnySeq = Annotated[int, Meta(ge=0, le=MAX_INT64)]
"""A position as a client writes it; 0 is before the first."""
