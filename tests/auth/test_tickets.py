"""Tickets: good for half a minute, and never mistaken for a token or a token for them."""

from __future__ import annotations

import json
import string
from datetime import timedelta

import pytest

from chatapp.auth.keys import Keyring, SigningKey
from chatapp.auth.principal import Principal
from chatapp.auth.tickets import TICKET_LIFETIME_S, Tickets
from chatapp.auth.tokens import Tokens
from chatapp.errors import InvalidToken
from chatapp.protocol.ids import MAX_INT64, SessionId, UserId

from .clock import NOON, FakeClock

KEY = SigningKey(b"1" * 32)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def tickets(clock: FakeClock) -> Tickets:
    return Tickets(Keyring(KEY), clock)


def holder(username: str = "ann", lifetime_s: float = 3600.0, clock: FakeClock | None = None) -> Principal:
    tokens = Tokens(Keyring(KEY), lifetime_s, clock or FakeClock())
    return tokens.issue(UserId(MAX_INT64), username, MAX_INT64, SessionId(MAX_INT64))[1]


def refused(tickets: Tickets, ticket: str) -> bool:
    with pytest.raises(InvalidToken):
        tickets.open(ticket)
    return True


def test_a_ticket_stands_for_the_token_it_was_bought_with(tickets: Tickets) -> None:
    principal = holder()
    assert tickets.open(tickets.issue(principal)).principal == principal


def test_every_ticket_is_another(tickets: Tickets) -> None:
    ids = {tickets.open(tickets.issue(holder())).ticket_id for _ in range(20)}
    assert len(ids) == 20
    assert all(len(i) == 22 and set(i) <= set(string.ascii_letters + string.digits + "-_") for i in ids)


@pytest.mark.parametrize("character", ["\x01", "\U0001f600", '"'])
def test_the_longest_name_fits(tickets: Tickets, character: str) -> None:
    ticket = tickets.issue(holder(character * 50))
    assert len(ticket) <= 1024
    assert tickets.open(ticket).principal.username == character * 50


def test_a_ticket_ends_after_30_seconds(tickets: Tickets, clock: FakeClock) -> None:
    ticket = tickets.issue(holder())
    clock.advance(TICKET_LIFETIME_S - 0.001)
    tickets.open(ticket)
    clock.advance(0.001)
    assert refused(tickets, ticket)


def test_a_ticket_ends_with_its_token(tickets: Tickets, clock: FakeClock) -> None:
    ticket = tickets.issue(holder(lifetime_s=10))
    clock.advance(10)
    assert refused(tickets, ticket)


def test_a_ticket_from_the_future_is_refused(tickets: Tickets, clock: FakeClock) -> None:
    ticket = tickets.issue(holder())
    assert Tickets(Keyring(KEY), FakeClock(NOON - timedelta(seconds=30))).open(ticket)
    assert refused(Tickets(Keyring(KEY), FakeClock(NOON - timedelta(seconds=31))), ticket)


def test_a_token_is_no_ticket_and_a_ticket_no_token(tickets: Tickets, clock: FakeClock) -> None:
    tokens = Tokens(Keyring(KEY), 3600, clock)
    token, principal = tokens.issue(UserId(1), "ann", 0)
    assert refused(tickets, token)
    with pytest.raises(InvalidToken):
        tokens.verify(tickets.issue(principal))


def test_another_key_and_a_dropped_key_are_refused(clock: FakeClock) -> None:
    keyring = Keyring(KEY)
    tickets = Tickets(keyring, clock)
    ticket = tickets.issue(holder())
    assert refused(Tickets(Keyring(SigningKey(b"2" * 32)), clock), ticket)
    keyring.change(SigningKey(b"2" * 32))
    assert refused(tickets, ticket)


def test_another_purpose_or_shape_is_refused(tickets: Tickets) -> None:
    claims = json.loads(KEY.open(tickets.issue(holder())))
    assert tickets.open(KEY.seal(json.dumps(claims).encode()))
    for wrong in (["another", *claims[1:]], claims[:-1], [*claims, 1], dict(enumerate(claims)), [*claims[:4], 0]):
        assert refused(tickets, KEY.seal(json.dumps(wrong).encode()))


@pytest.mark.parametrize("ticket", ["", "x", "v4.local.", "é" * 20, "v4.local." + "A" * 100_000, "\x00", "\ud800"])
def test_nonsense_is_refused(tickets: Tickets, ticket: str) -> None:
    assert refused(tickets, ticket)


def test_any_other_last_character_is_refused(tickets: Tickets) -> None:
    ticket = tickets.issue(holder())
    assert refused(tickets, ticket + "=")
    for character in string.ascii_letters + string.digits + "-_":
        assert ticket[:-1] + character == ticket or refused(tickets, ticket[:-1] + character)
