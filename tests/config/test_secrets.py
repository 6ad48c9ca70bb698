from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given as hypothesis_given
from hypothesis import strategies as st

from chatapp.config import Secret, load
from chatapp.config.environment import read_environ, secret_files
from chatapp.config.given import Given
from chatapp.config.keys import keys
from chatapp.config.showing import to_tree
from tests.config.support import BOTH, STRONG_KEY, from_environ, from_yaml, problems_of, problems_of_yaml

HIDDEN = "hunter2"


def test_no_secret_is_in_the_repr_of_settings() -> None:
    settings = from_environ(
        DATABASE_URL=f"postgres://u:{HIDDEN}@db/chat",
        REDIS_URL=f"redis://:{HIDDEN}@cache",
        CHATAPP_POSTGRES_DB__PASS=HIDDEN,
        CHATAPP_REDIS__PASSWORD=HIDDEN,
        PASETO_KEY=STRONG_KEY,
        CHATAPP_AUTH__PASETO_OLD_KEYS=STRONG_KEY[::-1],
    )
    for shown in (repr(settings), str(settings), f"{settings}", str(to_tree(settings))):
        assert HIDDEN not in shown
        assert STRONG_KEY not in shown
        assert STRONG_KEY[::-1] not in shown


def test_a_secret_cannot_be_encoded_by_accident() -> None:
    with pytest.raises(TypeError):
        msgspec.json.encode(Secret(HIDDEN))


def test_secrets_are_equal_when_their_texts_are() -> None:
    assert Secret("a") == Secret("a") != Secret("b")
    assert len({Secret("a"), Secret("a")}) == 1
    assert Secret("a") != "a"


@pytest.mark.parametrize(
    "text", ["123456", "1e5", "true", "null", "[1, 2]", "{a=1}", "@int 5", "2024-01-01", '"quoted"', "0123", " x ", "~"]
)
def test_a_password_is_taken_letter_by_letter(tmp_path: Path, text: str) -> None:
    from_variable = from_environ(CHATAPP_REDIS__PASSWORD=text).redis.password
    assert from_variable == Secret(text)
    (tmp_path / "password").write_text(text + "\n")
    assert from_environ(CHATAPP_REDIS__PASSWORD_FILE=str(tmp_path / "password")).redis.password == Secret(text)


@hypothesis_given(st.text(st.characters(exclude_characters="\0\r\n", exclude_categories=["Cs"]), min_size=1))
def test_any_password_survives_the_environment(text: str) -> None:
    assert load(None, {"CHATAPP_REDIS__PASSWORD": text}).redis.password == Secret(text)


@pytest.mark.parametrize("written", ["123456", "0123", "1e5", "true", "2024-01-01", "'@int 5'"])
def test_a_password_in_the_file_needs_no_quotes_to_stay_a_text(tmp_path: Path, written: str) -> None:
    settings = from_yaml(tmp_path, f"redis: {{password: {written}}}")
    assert settings.redis.password == Secret(written.strip("'"))


@pytest.mark.parametrize("variable", ["DATABASE_URL", "CHATAPP_POSTGRES_DB__URL"])
def test_a_url_may_stand_in_a_file_of_its_own(tmp_path: Path, variable: str) -> None:
    (tmp_path / "url").write_text(BOTH["DATABASE_URL"] + "\n")
    settings = from_environ(REDIS_URL=BOTH["REDIS_URL"], **{f"{variable}_FILE": str(tmp_path / "url")})
    assert settings.postgres_db.url == Secret(BOTH["DATABASE_URL"])


def test_every_secret_and_nothing_else_may_stand_in_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "value").write_text("x")
    for key in keys().values():
        given = Given()
        read_environ({f"{key.env}_FILE": str(tmp_path / "value")}, given)
        assert (key.dotted in given.origins) is key.is_secret
        assert bool(given.problems) is not key.is_secret


def test_a_secret_given_twice_or_in_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(STRONG_KEY)
    wrong = problems_of(PASETO_KEY=STRONG_KEY, PASETO_KEY_FILE=str(tmp_path / "key"))
    assert "found both" in wrong["auth.paseto_key"]
    assert "readable file" in problems_of(PASETO_KEY_FILE=str(tmp_path / "none"))["auth.paseto_key"]
    (tmp_path / "key").write_text("\n")
    assert "found nothing in it" in problems_of(PASETO_KEY_FILE=str(tmp_path / "key"))["auth.paseto_key"]
    (tmp_path / "key").write_bytes(b"\xff" * 32)
    assert "UTF-8" in problems_of(PASETO_KEY_FILE=str(tmp_path / "key"))["auth.paseto_key"]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DATABASE_URL", f"mysql://u:{HIDDEN}@db/chat"),
        ("DATABASE_URL", f"postgres://u:{HIDDEN}@db:many/chat"),
        ("DATABASE_URL", HIDDEN),
        ("REDIS_URL", f"http://:{HIDDEN}@cache"),
        ("REDIS_URL", f"redis://:{HIDDEN}@cache:many"),
        ("PASETO_KEY", HIDDEN * 10),
        ("CHATAPP_AUTH__PASETO_OLD_KEYS", HIDDEN),
        ("CHATAPP_AUTH__PASETO_OLD_KEYS", f"[{{a = '{HIDDEN}'}}]"),
        ("CHATAPP_REDIS__NODES", f"redis://:{HIDDEN}@cache"),
    ],
)
def test_problems_do_not_quote_secrets(variable: str, value: str) -> None:
    assert HIDDEN not in "".join(problems_of(**{variable: value}).values())


@pytest.mark.parametrize(
    "text",
    [
        f"redis: {{password: *{HIDDEN}}}",
        f"redis: {{password: !{HIDDEN} x}}",
        f"redis: {{password: %{HIDDEN}}}",
        f"redis:\n  password: [{HIDDEN}",
        f"redis:\n  password: {{a: {HIDDEN}}}",
        f"redis: {HIDDEN}",
    ],
)
def test_a_broken_file_is_not_quoted(tmp_path: Path, text: str) -> None:
    assert HIDDEN not in "".join(problems_of_yaml(tmp_path, text).values())


def test_what_is_shown_of_a_url_is_where_it_leads() -> None:
    tree = to_tree(
        from_environ(
            DATABASE_URL=f"postgres://u:{HIDDEN}@db:5432/chat?password={HIDDEN}",
            REDIS_URL=f"rediss://x:{HIDDEN}@@r:1/0",
        )
    )
    assert tree["postgres_db"]["url"] == "postgres://***@db:5432/chat"
    assert tree["redis"]["url"] == "rediss://***@r:1/0"


def test_old_keys_may_stand_in_a_file_on_lines_and_the_file_may_be_empty(tmp_path: Path) -> None:
    file = tmp_path / "old_keys"
    file.write_text(f"{STRONG_KEY}\n{STRONG_KEY[::-1]}\n")
    for variable in ("PASETO_OLD_KEYS_FILE", "CHATAPP_AUTH__PASETO_OLD_KEYS_FILE"):
        environ = {"PASETO_KEY": STRONG_KEY, variable: str(file)}
        assert len(from_environ(**environ).auth.old_signing_keys()) == 2
        assert secret_files(environ, "auth") == (file,)
    file.write_text("\n")
    assert from_environ(PASETO_KEY=STRONG_KEY, PASETO_OLD_KEYS_FILE=str(file)).auth.old_signing_keys() == ()
