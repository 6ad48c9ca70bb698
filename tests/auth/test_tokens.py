"""Tokens: what is issued verifies, and nothing else does."""

from __future__ import annotations

import json
import string
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pyseto
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatapp.auth.keys import Keyring, Opened, SigningKey
from chatapp.auth.principal import Principal
from chatapp.auth.tokens import TOKEN_LIMIT_CHARACTERS, Tokens
from chatapp.errors import InvalidToken
from chatapp.protocol.ids import MAX_INT64, SessionId, UserId

from .clock import NOON, FakeClock

SECRET = b"1" * 32
KEY = SigningKey(SECRET)
LIFETIME_S = 3600.0
USER = UserId(7)
ABSENT = object()
EXPIRY = NOON + timedelta(seconds=LIFETIME_S)


def issuer(clock: FakeClock | None = None, remembered: int = 10_000) -> Tokens:
    return Tokens(Keyring(KEY), LIFETIME_S, clock or FakeClock(), remembered=remembered)


def spell(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def claims(**changes: Any) -> dict[str, Any]:
    """Good claims, with changes: a value, or ABSENT."""
    issued, expires = spell(NOON), spell(NOON + timedelta(hours=1))
    good = {
        "user_id": 7,
        "username": "john_doe",
        "issued_at": issued,
        "expire_at": expires,
        "sub": "7",
        "iat": issued,
        "exp": expires,
        "jti": "A" * 22,
        "aud": "chatapp",
        "gen": 3,
    }
    return {name: value for name, value in (good | changes).items() if value is not ABSENT}


def sealed(**changes: Any) -> str:
    return KEY.seal(json.dumps(claims(**changes)).encode())


def refused(token: Any, clock: FakeClock | None = None) -> bool:
    with pytest.raises(InvalidToken) as caught:
        issuer(clock).verify(token)
    return caught.value.__cause__ is None and str(caught.value) == "invalid or expired token"


# -- what is issued -----------------------------------------------------------------------------------------------


def test_what_is_issued_verifies_to_the_same_principal() -> None:
    tokens = issuer()
    token, principal = tokens.issue(USER, "john_doe", 3)
    assert tokens.verify(token) == principal
    assert principal == Principal(USER, "john_doe", principal.token_id, 3, NOON, EXPIRY, None, KEY.key_id)


def test_the_claims_are_those_of_the_original_and_the_registered_ones() -> None:
    token, principal = issuer().issue(USER, "john_doe", 3)
    opened = json.loads(KEY.open(token))
    assert opened == claims(jti=principal.token_id)
    assert opened["issued_at"] == "2026-06-01T12:00:00.250000Z"


def test_the_token_id_has_128_random_bits_and_is_safe_in_addresses() -> None:
    tokens = issuer()
    ids = {tokens.issue(USER, "john_doe", 0)[1].token_id for _ in range(100)}
    assert len(ids) == 100
    assert all(len(i) == 22 and set(i) <= set(string.ascii_letters + string.digits + "-_") for i in ids)


@pytest.mark.parametrize("character", ["\x01", "\U0001f600", "ä", '"'])
def test_the_longest_names_and_numbers_make_a_token_that_verifies(character: str) -> None:
    tokens = issuer()
    token, principal = tokens.issue(UserId(MAX_INT64), character * 50, MAX_INT64, SessionId(MAX_INT64))
    assert len(token) <= TOKEN_LIMIT_CHARACTERS
    assert tokens.verify(token) == principal


def test_a_token_that_could_not_be_verified_is_not_issued() -> None:
    tokens = issuer()
    with pytest.raises(ValueError, match="username"):
        tokens.issue(USER, "n" * 1000, 0)
    for user_id, generation in ((0, 0), (-1, 0), (MAX_INT64 + 1, 0), (1, -1), (1, MAX_INT64 + 1)):
        with pytest.raises(ValueError, match="range"):
            tokens.issue(UserId(user_id), "name", generation)


def test_a_lifetime_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="lifetime"):
        Tokens(Keyring(KEY), 0)


def test_a_token_names_its_session_and_one_of_before_there_were_sessions_has_none() -> None:
    tokens = issuer()
    token, principal = tokens.issue(USER, "john_doe", 3, SessionId(31))
    assert principal.session_id == 31
    assert tokens.verify(token) == principal
    assert tokens.verify(sealed(sid=31)).session_id == 31
    assert tokens.verify(sealed()).session_id is None


@settings(deadline=None)
@given(
    user_id=st.integers(1, MAX_INT64),
    username=st.text(st.characters(exclude_categories=["Cs"]), max_size=50),
    generation=st.integers(0, MAX_INT64),
    now=st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)),
)
def test_any_principal_survives_the_way_through_a_token(
    user_id: int, username: str, generation: int, now: datetime
) -> None:
    tokens = issuer(FakeClock(now.replace(tzinfo=NOON.tzinfo)))
    token, principal = tokens.issue(UserId(user_id), username, generation)
    assert tokens.verify(token) == principal


def test_by_default_the_time_is_now() -> None:
    tokens = Tokens(Keyring(KEY), LIFETIME_S)
    token, principal = tokens.issue(USER, "john_doe", 0)
    assert tokens.verify(token) == principal
    assert abs(datetime.now(UTC) - principal.issued_at) < timedelta(minutes=1)


# -- what is refused ----------------------------------------------------------------------------------------------


def test_claims_made_by_hand_verify_so_that_the_refusals_below_have_one_reason() -> None:
    assert issuer().verify(sealed()).user_id == USER
    assert issuer().verify(sealed(nbf=spell(NOON), extra=[1])).generation == 3


@pytest.mark.parametrize(
    "name", ["user_id", "username", "issued_at", "expire_at", "sub", "iat", "exp", "jti", "aud", "gen"]
)
def test_every_claim_is_required(name: str) -> None:
    assert refused(sealed(**{name: ABSENT}))
    assert refused(sealed(**{name: None}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("user_id", "7"),
        ("user_id", 7.0),
        ("user_id", True),
        ("user_id", 0),
        ("user_id", -7),
        ("user_id", 2**63),
        ("user_id", 2**64 + 7),
        ("username", 7),
        ("sub", 7),
        ("sub", "8"),
        ("sub", "07"),
        ("sub", " 7"),
        ("sub", "٧"),
        ("jti", 7),
        ("jti", ""),
        ("jti", "j" * 65),
        ("aud", "another"),
        ("aud", ["chatapp"]),
        ("gen", "3"),
        ("gen", -1),
        ("gen", 2**63),
        ("sid", "3"),
        ("sid", 0),
        ("sid", -1),
        ("sid", 2**63),
        ("sid", None),
        ("iat", 1780315200),
        ("iat", "yesterday"),
        ("iat", "2026-06-01T12:00:00"),
        ("exp", 1999999999),
        ("exp", "2036-06-01T12:00:00"),
        ("nbf", None),
        ("nbf", 0),
        ("issued_at", spell(NOON - timedelta(seconds=1))),
        ("expire_at", spell(NOON + timedelta(days=1))),
    ],
)
def test_a_claim_of_the_wrong_type_or_value_is_refused(name: str, value: object) -> None:
    assert refused(sealed(**{name: value}))


@pytest.mark.parametrize("user_id", [0, -7, 2**63])
def test_a_user_id_that_is_none_is_refused_even_when_sub_agrees(user_id: int) -> None:
    assert refused(sealed(user_id=user_id, sub=str(user_id)))


@pytest.mark.parametrize("payload", [b"", b"null", b"[]", b"{", b"\xff", b'{"username":"\xff"}', b"[" * 500, b"{}"])
def test_an_authentic_box_with_something_else_in_it_is_refused(payload: bytes) -> None:
    assert refused(KEY.seal(payload))


def test_a_token_is_valid_until_the_very_moment_of_its_expiry() -> None:
    token = issuer().issue(USER, "john_doe", 0)[0]
    clock = FakeClock(NOON + timedelta(seconds=LIFETIME_S) - timedelta(microseconds=1))
    assert issuer(clock).verify(token).user_id == USER
    clock.advance(0.000001)
    assert refused(token, clock)


@pytest.mark.parametrize("ahead_s", [0, 29, 30])
def test_an_issuer_whose_clock_is_a_little_ahead_is_believed(ahead_s: int) -> None:
    then = spell(NOON + timedelta(seconds=ahead_s))
    assert issuer().verify(sealed(iat=then, issued_at=then, nbf=then)).user_id == USER


def test_a_token_from_the_future_is_refused() -> None:
    then = spell(NOON + timedelta(seconds=30, microseconds=1))
    assert refused(sealed(iat=then, issued_at=then))
    assert refused(sealed(nbf=then))


@pytest.mark.parametrize("not_text", [None, 7, b"v4.local.AAAA", ["v4"], object()])
def test_what_is_not_text_is_refused(not_text: object) -> None:
    assert refused(not_text)


def test_a_token_over_1_kib_is_refused_before_it_is_decrypted(monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(_self: Keyring, _token: str) -> Opened:
        pytest.fail("it was opened")

    monkeypatch.setattr(Keyring, "open", opened)
    authentic = sealed(padding="p" * 1000)
    assert len(authentic) > TOKEN_LIMIT_CHARACTERS
    for token in (authentic, "v4.local." + "A" * 100_000, "A" * (TOKEN_LIMIT_CHARACTERS + 1)):
        assert refused(token)


def variants(token: str) -> Iterator[str]:
    header, box, footer = token[: len("v4.local.")], token.split(".")[2], token.split(".")[3]
    yield from ("", ".", "...", "v4.local.", f"{header}.{footer}", f"{header}{box}.", f"{header}{box}", box, footer)
    yield from (token + "=", token + "==", token + ".", token + ".AA", token + "\n", " " + token, token + "\x00")
    yield from (f"{header}{box}=.{footer}", f"{header}{box}==.{footer}", f"{header}{box[:40]}\n{box[40:]}.{footer}")
    yield from (f"{header}{box[:40]}\x00{box[40:]}.{footer}", f"{header}{box[:40]}é{box[40:]}.{footer}")
    yield from (f"{header}{box[:-1]}.{footer}", f"{header}{box}A.{footer}", f"{header}{box[:20]}.{footer}")
    yield from (token.replace("v4.local", other) for other in ("v3.local", "v4.public", "V4.local", "v2.local", "."))
    yield from (token.upper(), token[::-1], token + "\ud800", token.encode().decode("utf-16-le", "surrogatepass"))


def test_every_respelling_of_a_token_is_refused() -> None:
    token = sealed()
    for variant in variants(token):
        assert refused(variant), variant


def test_every_other_last_character_is_refused() -> None:
    token = sealed()
    box, footer = token.rsplit(".", 1)
    for character in string.ascii_letters + string.digits + "-_":
        for other in (f"{token[:-1]}{character}", f"{box[:-1]}{character}.{footer}"):
            assert other == token or refused(other)


def test_stray_bits_at_the_end_of_the_box_are_refused_although_they_decrypt() -> None:
    alphabet = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
    key = pyseto.Key.new(4, "local", SECRET)
    respelled = 0
    for padding in ("", "p", "pp"):
        box, footer = sealed(padding=padding).rsplit(".", 1)
        if len(box.removeprefix("v4.local.")) % 4 == 0:
            continue  # of three lengths in a row one leaves no bits over
        other = f"{box[:-1]}{alphabet[alphabet.index(box[-1]) + 1]}.{footer}"
        assert pyseto.decode(key, other).payload == KEY.open(f"{box}.{footer}")
        assert refused(other)
        respelled += 1
    assert respelled == 2


def test_another_key_is_refused() -> None:
    stranger = Tokens(Keyring(SigningKey(b"2" * 32)), LIFETIME_S, FakeClock())
    assert refused(stranger.issue(USER, "john_doe", 0)[0])


def test_the_same_key_under_another_purpose_or_version_is_refused() -> None:
    payload, footer = json.dumps(claims()).encode(), b'{"kid":"%b"}' % KEY.key_id.encode()
    for version in (1, 2, 3):
        token = pyseto.encode(pyseto.Key.new(version, "local", SECRET), payload, footer).decode()
        assert refused(token)


@settings(deadline=None)
@given(data=st.data())
def test_any_changed_byte_is_refused(data: st.DataObject) -> None:
    token = sealed()
    place = data.draw(st.integers(0, len(token) - 1))
    character = data.draw(st.characters(max_codepoint=0x7F) | st.characters())
    changed = token[:place] + character + token[place + 1 :]
    assert changed == token or refused(changed)


@settings(deadline=None)
@given(place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_any_flipped_bit_of_the_box_or_footer_is_refused(place: int, bit: int) -> None:
    header, box, footer = sealed().partition("v4.local.")[1], *sealed().split(".")[2:]
    raw = bytearray(pyseto.utils.base64url_decode(box))
    raw[place % len(raw)] ^= 1 << bit
    assert refused(f"{header}{pyseto.utils.base64url_encode(bytes(raw)).decode()}.{footer}")


@settings(deadline=None)
@given(st.text() | st.text(string.ascii_letters + string.digits + "-_.").map(lambda text: "v4.local." + text))
def test_any_text_is_refused(text: str) -> None:
    assert refused(text)


# -- what is remembered -------------------------------------------------------------------------------------------


class Counting(Keyring):
    """Counts how often a token was really decrypted."""

    opened = 0

    def open(self, token: str) -> Opened:
        self.opened += 1
        return super().open(token)


def test_a_verified_token_is_not_decrypted_again() -> None:
    keyring = Counting(KEY)
    tokens = Tokens(keyring, LIFETIME_S, FakeClock())
    token = sealed()
    assert tokens.verify(token) is tokens.verify(token)
    assert keyring.opened == 1


def test_a_remembered_token_is_refused_from_its_expiry_on_and_forgotten() -> None:
    clock = FakeClock()
    tokens = issuer(clock)
    token, _ = tokens.issue(USER, "john_doe", 0)
    tokens.verify(token)
    clock.advance(LIFETIME_S)
    for _ in range(2):
        with pytest.raises(InvalidToken):
            tokens.verify(token)
        assert tokens.remembered == 0


def test_pruning_forgets_expired_tokens_and_no_others() -> None:
    clock = FakeClock()
    tokens = issuer(clock)
    tokens.verify(tokens.issue(USER, "john_doe", 0)[0])
    clock.advance(1)
    tokens.verify(tokens.issue(USER, "john_doe", 0)[0])
    clock.advance(LIFETIME_S - 1)
    tokens.prune(lambda principal: False)
    assert tokens.remembered == 1


def test_pruning_forgets_revoked_tokens_which_may_come_back_as_often_as_they_like() -> None:
    tokens = issuer(FakeClock())
    kept, gone = (tokens.issue(USER, "john_doe", 0)[0] for _ in range(2))
    ended = tokens.verify(gone)
    tokens.verify(kept)
    for _ in range(2):
        tokens.prune(lambda principal: principal.token_id == ended.token_id)
        assert tokens.remembered == 1
        assert tokens.verify(gone) == ended  # whether it was revoked is asked elsewhere


def test_only_the_tokens_used_last_are_remembered() -> None:
    keyring = Counting(KEY)
    tokens = Tokens(keyring, LIFETIME_S, FakeClock(), remembered=2)
    first, second, third = (tokens.issue(USER, "john_doe", 0)[0] for _ in range(3))
    for token in (first, second, first, third):
        tokens.verify(token)
    assert (tokens.remembered, keyring.opened) == (2, 3)
    tokens.verify(first)
    assert keyring.opened == 3
    tokens.verify(second)
    assert keyring.opened == 4


def test_a_remembered_token_is_refused_once_its_key_is_dropped() -> None:
    keyring = Keyring(KEY)
    tokens = Tokens(keyring, LIFETIME_S, FakeClock())
    token = sealed()
    keyring.change(SigningKey(b"2" * 32), [KEY])
    assert tokens.verify(token).key_id == KEY.key_id
    keyring.change(SigningKey(b"2" * 32))
    with pytest.raises(InvalidToken):
        tokens.verify(token)


def test_a_refused_token_is_not_remembered() -> None:
    tokens = issuer()
    for token in (sealed(sub="8"), sealed(exp=spell(NOON), expire_at=spell(NOON)), "v4.local.AAAA"):
        with pytest.raises(InvalidToken):
            tokens.verify(token)
    assert tokens.remembered == 0


def test_a_remembered_token_does_not_vouch_for_a_respelled_one() -> None:
    tokens = issuer()
    token = sealed()
    tokens.verify(token)
    for variant in variants(token):
        with pytest.raises(InvalidToken):
            tokens.verify(variant)
