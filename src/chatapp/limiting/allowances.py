"""What is allowed, and what was refused."""

from __future__ import annotations

from msgspec import Struct


class Allowance(Struct, frozen=True):
    """At most ``count`` in any ``period_s`` seconds."""

    count: int
    period_s: int


class Allowances(Struct, frozen=True, kw_only=True):
    """For each kind of act, how often one user or one address may do it."""

    login: Allowance
    """Wrong passwords for one account before each further attempt must wait."""
    login_address: Allowance
    """Wrong passwords, and attempts under way, from one address."""
    register: Allowance
    """Registrations from one address."""
    send: Allowance
    """Messages of one user."""
    command: Allowance
    """Requests and frames of one user that are no messages."""
    connect: Allowance
    """Sockets that one user opens."""
    connect_address: Allowance
    """Handshakes from one address, whoever's."""


class Refusals(Struct, kw_only=True):
    """How often something was refused because it came too often. Counters since the start; they only grow."""

    login: int = 0
    register: int = 0
    send: int = 0
    command: int = 0
    connect: int = 0
    sockets_closed: int = 0
    """Sockets that went on all the same and were closed with 4429."""
    shared_failures: int = 0
    """Questions that Redis did not answer in time: this replica then counts by itself for a moment."""
    portions: int = 0
    """Portions that were told to Redis."""
