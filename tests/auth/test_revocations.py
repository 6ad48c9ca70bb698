"""Revocations: the same ones end the same tokens, however they arrive."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatapp.auth.principal import Principal
from chatapp.auth.revocations import Revocation, Revocations, decode, encode
from chatapp.errors import Malformed
from chatapp.protocol.ids import SessionId, TokenId, UserId

from .clock import NOON, FakeClock

ANN, BEN = UserId(1), UserId(2)
LATER = NOON + timedelta(hours=24)
IDS = [TokenId(name) for name in ("a", "b", "c", "d")]


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def holder(token_id: str, generation: int = 0, user_id: UserId = ANN, expires_at: datetime = LATER) -> Principal:
    return Principal(user_id, "name", TokenId(token_id), generation, NOON, expires_at)


def end_of(token_id: str, effective_at: datetime | None = None, expires_at: datetime = LATER) -> Revocation:
    return Revocation(id=1, user_id=ANN, token_id=TokenId(token_id), effective_at=effective_at, expires_at=expires_at)


def end_below(generation: int, spared: str | None = None, expires_at: datetime = LATER) -> Revocation:
    spared_id = None if spared is None else TokenId(spared)
    return Revocation(id=2, user_id=ANN, min_generation=generation, except_token_id=spared_id, expires_at=expires_at)


def applied(*revocations: Revocation, clock: FakeClock | None = None) -> Revocations:
    store = Revocations(clock or FakeClock())
    for revocation in revocations:
        store.apply(revocation)
    return store


# -- one token ----------------------------------------------------------------------------------------------------


def test_nothing_is_revoked_at_first() -> None:
    assert not Revocations(FakeClock()).is_revoked(holder("a"))


def test_logging_out_ends_one_token_and_no_other() -> None:
    store = applied(end_of("a"))
    assert store.is_revoked(holder("a"))
    assert not store.is_revoked(holder("b"))
    assert not store.is_revoked(holder("a", user_id=BEN))


def test_a_refreshed_token_stays_valid_until_its_end_takes_effect() -> None:
    clock = FakeClock()
    store = applied(end_of("a", effective_at=after(60)), clock=clock)
    clock.advance(59.9)
    assert not store.is_revoked(holder("a"))
    clock.advance(0.1)
    assert store.is_revoked(holder("a"))


def test_logging_out_ends_a_refreshed_token_at_once_in_either_order() -> None:
    refresh, logout = end_of("a", effective_at=after(60)), end_of("a")
    for order in permutations([refresh, logout]):
        assert applied(*order).is_revoked(holder("a"))


def test_an_end_at_once_does_not_wait_for_a_clock_that_is_behind() -> None:
    behind = FakeClock(NOON - timedelta(minutes=10))
    assert applied(end_of("a"), clock=behind).is_revoked(holder("a"))


# -- all tokens of a user -----------------------------------------------------------------------------------------


def test_a_new_password_ends_the_older_tokens_but_the_one_that_changed_it() -> None:
    store = applied(end_below(1, spared="a"))
    assert not store.is_revoked(holder("a", 0))
    assert store.is_revoked(holder("b", 0))
    assert not store.is_revoked(holder("c", 1))
    assert not store.is_revoked(holder("b", 0, BEN))


def test_a_second_new_password_from_the_same_session_spares_it_again() -> None:
    for order in permutations([end_below(1, spared="a"), end_below(2, spared="a")]):
        store = applied(*order)
        assert not store.is_revoked(holder("a", 0))
        assert store.is_revoked(holder("b", 1))


def test_a_second_new_password_from_another_session_ends_the_one_spared_before() -> None:
    for order in permutations([end_below(1, spared="a"), end_below(2, spared="b")]):
        store = applied(*order)
        assert store.is_revoked(holder("a", 0))
        assert not store.is_revoked(holder("b", 1)), "logged in with the first new password, made the second"
        assert store.is_revoked(holder("c", 1))
        assert not store.is_revoked(holder("c", 2))


def test_a_session_that_was_ended_stays_so_when_a_later_revocation_spares_it() -> None:
    for order in permutations([end_below(1, spared="a"), end_below(2, spared="b")]):
        assert applied(*order).is_revoked(holder("b", 0)), "its request raced with the first new password"


def test_two_sessions_that_race_to_the_same_generation_end_each_other() -> None:
    for order in permutations([end_below(1, spared="a"), end_below(1, spared="b")]):
        store = applied(*order)
        assert all(store.is_revoked(holder(name, 0)) for name in "abc")
        assert not store.is_revoked(holder("a", 1))


def test_deleting_the_account_ends_what_was_spared_before() -> None:
    for order in permutations([end_below(1, spared="a"), end_below(2**63 - 1)]):
        assert applied(*order).is_revoked(holder("a", 0))
        assert applied(*order).is_revoked(holder("b", 17))


def test_a_spared_token_can_still_be_logged_out() -> None:
    assert applied(end_below(1, spared="a"), end_of("a")).is_revoked(holder("a", 0))


# -- any revocations ----------------------------------------------------------------------------------------------

token_ids = st.sampled_from(IDS)
revocations = st.builds(
    Revocation,
    id=st.integers(1, 99),
    user_id=st.sampled_from([ANN, BEN]),
    token_id=st.none() | token_ids,
    min_generation=st.integers(0, 4),
    except_token_id=st.none() | token_ids,
    effective_at=st.none() | st.sampled_from([after(0), after(60), after(120)]),
    expires_at=st.sampled_from([after(600), after(1200)]),
)
everybody = [holder(t, g, u) for t in IDS for g in range(5) for u in (ANN, BEN)]


def in_effect(revocation: Revocation, now: datetime) -> bool:
    return revocation.token_id is None or revocation.effective_at is None or revocation.effective_at <= now


def ought_to_be_ended(principal: Principal, all_of_them: Sequence[Revocation], now: datetime) -> bool:
    """What the words say: the union of what each revocation ends by itself."""
    return any(r.concerns(principal) and in_effect(r, now) for r in all_of_them)


@settings(deadline=None, max_examples=300)
@given(st.lists(revocations, max_size=8), st.randoms(use_true_random=False), st.sampled_from([0, 59, 60, 120]))
def test_any_order_and_repetition_ends_the_same_tokens(
    some: list[Revocation], chance: random.Random, seconds: int
) -> None:
    shuffled = some + [chance.choice(some) for _ in some]
    chance.shuffle(shuffled)
    clock = FakeClock()
    in_order, otherwise = applied(*some, clock=clock), applied(*shuffled, clock=clock)
    clock.advance(seconds)
    for principal in everybody:
        expected = ought_to_be_ended(principal, some, clock.now)
        assert in_order.is_revoked(principal) == otherwise.is_revoked(principal) == expected


@settings(deadline=None)
@given(st.lists(revocations, max_size=8))
def test_nothing_that_was_ended_comes_back(some: list[Revocation]) -> None:
    store = Revocations(FakeClock())
    ended: set[Principal] = set()
    for revocation in some:
        store.apply(revocation)
        now_ended = {p for p in everybody if store.is_revoked(p)}
        assert ended <= now_ended
        ended = now_ended


@settings(deadline=None)
@given(st.lists(revocations, max_size=8))
def test_applying_says_whether_it_ended_anything_more(some: list[Revocation]) -> None:
    clock = FakeClock()
    store = Revocations(clock)
    known: list[Revocation] = []
    for revocation in some:
        times = [after(s) for s in (0, 60, 120)]
        before = {(p, t) for p in everybody for t in times if ought_to_be_ended(p, known, t)}
        known.append(revocation)
        more = {(p, t) for p in everybody for t in times if ought_to_be_ended(p, known, t)} - before
        new = store.apply(revocation)
        assert new or not more
        assert not store.apply(revocation)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(revocations, st.integers(0, 900)), max_size=8), st.integers(0, 900))
def test_pruning_changes_nothing_for_tokens_that_have_not_expired(
    arrivals: list[tuple[Revocation, int]], pause_s: int
) -> None:
    clock = FakeClock()
    store = Revocations(clock)
    some = [revocation for revocation, _ in arrivals]
    for revocation, wait_s in arrivals:
        store.apply(revocation)
        clock.advance(wait_s)
        store.prune()
    clock.advance(pause_s)
    store.prune()
    for principal in everybody:
        # What a revocation promises: whatever it concerns has expired when it does.
        expires_at = min([r.expires_at for r in some if r.concerns(principal)], default=LATER)
        if clock.now < expires_at:
            assert store.is_revoked(principal) == ought_to_be_ended(principal, some, clock.now)


# -- forgetting ---------------------------------------------------------------------------------------------------


def test_pruning_forgets_what_has_expired() -> None:
    clock = FakeClock()
    store = applied(
        end_of("a", expires_at=after(10)),
        end_of("b", expires_at=after(20)),
        end_below(1, expires_at=after(20)),
        clock=clock,
    )
    assert len(store) == 3
    clock.advance(10)
    store.prune()
    assert len(store) == 2
    clock.advance(10)
    store.prune()
    assert len(store) == 0


def test_the_later_expiry_counts_when_two_revocations_meet() -> None:
    for pair in (
        [end_of("a", expires_at=after(10)), end_of("a", expires_at=after(20))],
        [end_below(1, expires_at=after(10)), end_below(1, expires_at=after(20))],
    ):
        for order in permutations(pair):
            clock = FakeClock()
            store = applied(*order, clock=clock)
            clock.advance(10)
            store.prune()
            assert store.is_revoked(holder("a", 0))
            clock.advance(10)
            store.prune()
            assert len(store) == 0


def test_what_has_expired_already_is_not_noted() -> None:
    store = Revocations(FakeClock())
    assert not store.apply(end_of("a", expires_at=NOON))
    assert not store.apply(end_below(1, expires_at=NOON))
    assert len(store) == 0


def test_a_user_who_changes_the_password_forever_takes_one_entry() -> None:
    store = applied(*(end_below(generation, spared=f"token-{generation}") for generation in range(1, 200)))
    assert len(store) == 1


# -- what travels -------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(revocations)
def test_a_revocation_survives_the_control_topic(revocation: Revocation) -> None:
    assert decode(encode(revocation)) == revocation


def test_the_longest_revocation_can_be_decoded() -> None:
    longest = Revocation(
        id=2**63 - 1,
        user_id=UserId(2**63 - 1),
        token_id=TokenId("\x01" * 64),
        except_token_id=TokenId("\x01" * 64),
        min_generation=2**63 - 1,
        effective_at=LATER.replace(microsecond=999_999),
        expires_at=LATER.replace(microsecond=999_999),
    )
    assert decode(encode(longest)) == longest


def test_what_a_newer_version_adds_is_passed_over() -> None:
    payload = encode(end_of("a"))[:-1] + b',"reason":"stolen"}'
    assert decode(payload) == end_of("a")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b'{"id":',
        b'{"x":' + b"[" * 1000,
        b"[" * 100_000,
        b" " * 2000 + encode(end_of("a")),
        encode(end_of("a")).replace(b'"id":1', b'"id":"1"'),
        encode(end_of("a")).replace(b'"id":1', b'"id":0'),
        encode(end_of("a")).replace(b'"user_id":1', b'"user_id":9223372036854775808'),
        encode(end_of("a")).replace(b'"user_id":1', b'"user_id":-1'),
        encode(end_of("a")).replace(b'"a"', b'""'),
        encode(end_of("a")).replace(b'"a"', b"7"),
        encode(end_of("a")).replace(b'"a"', b'"\xff"'),
        encode(end_of("a")).replace(b"Z", b""),
        encode(end_below(1)).replace(b'"min_generation":1', b'"min_generation":-1'),
    ],
)
def test_what_is_no_revocation_is_malformed(payload: bytes) -> None:
    with pytest.raises(Malformed):
        decode(payload)


@settings(deadline=None)
@given(st.binary() | st.text().map(str.encode))
def test_any_bytes_decode_or_are_malformed(payload: bytes) -> None:
    with pytest.raises(Malformed):
        decode(payload)


# -- a session and a key ------------------------------------------------------------------------------------------


def of_session(token_id: str, session_id: int | None, user_id: UserId = ANN, key_id: str = "") -> Principal:
    session = None if session_id is None else SessionId(session_id)
    return Principal(user_id, "name", TokenId(token_id), 0, NOON, LATER, session, key_id)


def end_of_session(session_id: int, token_id: str | None = None, expires_at: datetime = LATER) -> Revocation:
    token = None if token_id is None else TokenId(token_id)
    return Revocation(id=3, user_id=ANN, session_id=SessionId(session_id), token_id=token, expires_at=expires_at)


def test_the_end_of_a_session_ends_all_its_tokens_and_no_others() -> None:
    end = end_of_session(7)
    store = applied(end)
    for token in (of_session("a", 7), of_session("b", 7)):
        assert store.is_revoked(token)
        assert end.concerns(token)
    for other in (of_session("a", 8), of_session("a", None), of_session("a", 7, BEN)):
        assert not store.is_revoked(other)
        assert not end.concerns(other)


def test_a_logout_ends_the_token_and_its_session() -> None:
    end = end_of_session(7, "a")
    store = applied(end)
    for token in (of_session("a", 7), of_session("b", 7), of_session("a", None)):
        assert store.is_revoked(token)
        assert end.concerns(token)
    assert not store.is_revoked(of_session("b", 8))


def test_the_end_of_a_session_is_new_once_and_forgotten_when_its_tokens_have_expired() -> None:
    clock = FakeClock()
    store = Revocations(clock)
    assert store.apply(end_of_session(7, expires_at=after(10)))
    assert not store.apply(end_of_session(7, expires_at=after(20)))
    clock.advance(15)
    store.prune()
    assert store.is_revoked(of_session("a", 7))
    clock.advance(5)
    store.prune()
    assert len(store) == 0


def test_the_end_of_a_session_survives_the_bus() -> None:
    for end in (end_of_session(7), end_of_session(7, "a")):
        assert decode(encode(end)) == end


def test_a_token_ends_with_its_key() -> None:
    keys = {"old", "new"}
    store = Revocations(FakeClock(), keys.__contains__)
    assert not store.is_revoked(of_session("a", 1, key_id="old"))
    keys.remove("old")
    assert store.is_revoked(of_session("a", 1, key_id="old"))
    assert not store.is_revoked(of_session("a", 1, key_id="new"))
