from __future__ import annotations

import base64
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatapp.config.signing_keys import KeyFormatError, decode_key, weakness_of
from tests.config.support import BOTH, PRODUCTION, STRONG_KEY, from_environ, problems_of


@given(st.binary(min_size=32, max_size=32))
def test_a_key_may_be_hex_or_base64(key: bytes) -> None:
    standard, safe = base64.b64encode(key).decode(), base64.urlsafe_b64encode(key).decode()
    for text in (key.hex(), f"hex:{key.hex()}", standard, f"base64:{standard}", safe, safe.rstrip("=")):
        assert decode_key(text) == key


@pytest.mark.parametrize("text", ["correct horse battery staple 123", "zz" * 16, "ab" * 16, "ü" * 16])
def test_a_key_may_be_32_bytes_as_they_are(text: str) -> None:
    assert decode_key(text) == text.encode()


@pytest.mark.parametrize(
    ("text", "short"),
    [("", True), ("x" * 31, True), ("x" * 33, False), ("ab" * 31, False), ("hex:abcd", True), ("hex:xyz", False)],
)
def test_anything_else_is_no_key(text: str, short: bool) -> None:
    with pytest.raises(KeyFormatError) as raised:
        decode_key(text)
    assert raised.value.short is short


@pytest.mark.parametrize(
    "text",
    [
        "12345678901234567890123456789012",
        "change-me-change-me-change-me-32",
        "CHANGE_ME_to_something_random_ok",
        "a" * 32,
        "abcdefgh" * 4,
        "00" * 32,
        bytes(range(32)).hex(),
        bytes(range(64, 32, -1)).hex(),
        "abcdefghijklmnopqrstuvwxyz123456",
    ],
)
def test_a_key_that_can_be_guessed_stops_the_start_in_production_only(text: str) -> None:
    wrong = problems_of(**PRODUCTION, PASETO_KEY=text)
    assert wrong.keys() == {"auth.paseto_key"}
    assert text not in wrong["auth.paseto_key"]
    elsewhere = from_environ(**BOTH, PASETO_KEY=text)
    assert elsewhere.auth.signing_key() == decode_key(text)
    assert any("auth.paseto_key is unsafe" in notice for notice in elsewhere.notices)


@given(st.binary(min_size=32, max_size=32).filter(lambda key: len(set(key)) > 24))
def test_a_random_key_is_not_called_weak(key: bytes) -> None:
    steps = sum(abs(right - left) == 1 for left, right in pairwise(key))
    assert weakness_of(key) is None or steps > 16


def test_production_wants_a_key() -> None:
    assert "found nothing" in problems_of(**PRODUCTION)["auth.paseto_key"]
    assert "found 5 bytes" in problems_of(**PRODUCTION, PASETO_KEY="short")["auth.paseto_key"]
    settings = from_environ(**PRODUCTION, PASETO_KEY=STRONG_KEY)
    assert settings.auth.signing_key() == bytes.fromhex(STRONG_KEY)
    assert settings.notices == ()


def test_elsewhere_a_missing_or_short_key_is_to_be_made() -> None:
    for environ in ({}, {"PASETO_KEY": "short"}):
        settings = from_environ(**environ)
        assert settings.auth.signing_key() is None
        assert any("one is made" in notice for notice in settings.notices)


def test_a_key_that_is_too_long_is_refused_everywhere() -> None:
    assert "found 40 bytes" in problems_of(PASETO_KEY="x" * 40)["auth.paseto_key"]


def test_old_keys_follow_the_same_rules() -> None:
    old = f"{STRONG_KEY[::-1]}, hex:{'0f1e2d3c4b5a6978' * 4}"
    settings = from_environ(PASETO_KEY=STRONG_KEY, CHATAPP_AUTH__PASETO_OLD_KEYS=old)
    assert settings.auth.old_signing_keys()[0] == bytes.fromhex(STRONG_KEY[::-1])
    assert "auth.paseto_old_keys" in problems_of(CHATAPP_AUTH__PASETO_OLD_KEYS=f"{STRONG_KEY},short")
    assert "auth.paseto_old_keys" in problems_of(
        **PRODUCTION, PASETO_KEY=STRONG_KEY, CHATAPP_AUTH__PASETO_OLD_KEYS="a" * 32
    )
