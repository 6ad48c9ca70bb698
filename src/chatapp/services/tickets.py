"""Tickets for sockets: a token's holder buys one over REST, and any replica takes it once.

PostgreSQL keeps which were used, and not Redis: it is there in each of the ways that Redis may be run, while Redis is
away, and after a failover (docs/decisions/0006).
"""

from __future__ import annotations

from msgspec import Struct

from chatapp.auth.principal import Principal
from chatapp.auth.tickets import TICKET_LIFETIME_S, Ticket, Tickets
from chatapp.errors import InvalidToken
from chatapp.services.revoking import Revoking
from chatapp.storage import tickets as statements
from chatapp.storage.engine import Database


class SocketTicket(Struct, frozen=True):
    """For ``/ws?ticket=``, once."""

    ticket: str
    expires_in: int = TICKET_LIFETIME_S
    """Seconds."""


class SocketTickets:
    """One for each replica."""

    def __init__(self, database: Database, tickets: Tickets, revoking: Revoking) -> None:
        self._database = database
        self._tickets = tickets
        self._revoking = revoking

    def issue(self, actor: Principal) -> SocketTicket:
        """Make a ticket. Nothing is stored."""
        return SocketTicket(self._tickets.issue(actor))

    def open(self, text: str) -> Ticket:
        """Read a ticket that may be good still. Raises ``InvalidToken``, also when its token was ended."""
        ticket = self._tickets.open(text)
        self._revoking.check(ticket.principal)
        return ticket

    async def spend(self, ticket: Ticket) -> None:
        """Use it up: the last thing before the socket is accepted. Raises ``InvalidToken`` when it was used before."""
        if not await statements.spend(self._database, ticket.ticket_id):
            raise InvalidToken
        self._revoking.check(ticket.principal)

    async def prune(self) -> None:
        """Forget tickets that nobody accepts any more. Raises ``Unavailable``."""
        await statements.prune(self._database)
