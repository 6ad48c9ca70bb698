from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatapp.errors import ValidationFailed
from chatapp.protocol.text import check_content, is_blank, is_storable, name_key

any_text = st.text(st.characters(exclude_categories=()))


@given(any_text)
def test_storable_is_what_utf_8_and_postgresql_can_hold(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        assert not is_storable(text)
    else:
        assert is_storable(text) == ("\0" not in text)


@given(any_text, st.integers(1, 40))
def test_a_content_that_is_accepted_satisfies_every_rule(content: str, limit_bytes: int) -> None:
    try:
        check_content(content, limit_bytes)
    except ValidationFailed as refused:
        (problem,) = refused.messages
        assert problem.field == "content"
        assert problem.tag in ("type", "max", "required")
    else:
        assert 1 <= len(content.encode()) <= limit_bytes
        assert "\0" not in content
        assert content.strip()


@pytest.mark.parametrize("content", ["", " ", "\n\t\r", "\u200b", "\u3000\ufeff", "\u00ad \u2060"])
def test_what_shows_nothing_is_blank(content: str) -> None:
    assert is_blank(content)
    with pytest.raises(ValidationFailed) as refused:
        check_content(content, 100)
    assert refused.value.messages[0].tag == "required"


def test_the_limit_is_in_bytes_and_itself_allowed() -> None:
    check_content("ä" * 50, 100)
    with pytest.raises(ValidationFailed) as refused:
        check_content("ä" * 50 + "a", 100)
    assert (refused.value.messages[0].tag, refused.value.messages[0].value) == ("max", "100")


@given(st.text())
def test_a_name_is_its_own_key_once_it_is_one(name: str) -> None:
    assert name_key(name_key(name)) == name_key(name)


@pytest.mark.parametrize(
    ("one", "other"), [("Straße", "STRASSE"), ("Ali\u0301", "alí"), ("ﬁn", "FIN"), ("Ａda", "ada")]
)
def test_names_that_read_alike_have_one_key(one: str, other: str) -> None:
    assert name_key(one) == name_key(other)
