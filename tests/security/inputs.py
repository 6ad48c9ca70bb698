"""What hostile, broken and careless clients send, each with the answer that it must get.

``docs/security.md`` is made from these tables, and ``test_inputs.py`` sends every row of ``REQUESTS``,
``HANDSHAKES`` and ``FRAMES``. What needs raw bytes, other settings or several clients has its test elsewhere:
``PROVEN`` says where. The number groups the rows that are about the same thing; all of ``KINDS`` must be there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct

KINDS = range(1, 74)
"""1 to 46 come over HTTP, 47 to 73 over sockets."""


class About(Struct, frozen=True):
    """Who and what a row is about."""

    mine: int
    """A group of the sender."""
    theirs: int
    """A group of others."""
    message: int
    """A message of another in the sender's group."""
    me: int
    my_name: str
    token: str
    ticket: str
    other_key: str
    """A token that another service's key has signed."""


class Request(Struct, frozen=True, kw_only=True):
    """Over HTTP. ``{…}`` in path, body and token stand for the fields of ``About``, and ``body`` for the bytes sent."""

    number: int
    name: str
    method: str = "POST"
    path: str = "/messages"
    body: str | bytes | None = None
    content_type: str = "application/json"
    token: str | bytes | None = "{token}"
    headers: Mapping[str, str] = {}
    status: int = 400
    code: str = ""
    """Of the refusal; empty where it is accepted."""
    holds: Callable[[bytes, Mapping[str, str]], bool] = lambda body, headers: True
    """What else must be true of the answer."""


class Handshake(Struct, frozen=True, kw_only=True):
    """The opening of a socket."""

    number: int
    name: str
    query: str = "?token={token}"
    headers: Mapping[str, str] = {}
    status: int = 401
    code: str = "invalid_token"


class Frame(Struct, frozen=True, kw_only=True):
    """One frame (or the same several times) on an open socket."""

    number: int
    name: str
    frame: str | bytes
    times: int = 1
    code: str = "validation_failed"
    """Of the ``error``; empty where there is none."""
    closes: int | None = None
    """The close code that follows; None where the connection stays."""


class Proven(Struct, frozen=True):
    """A row that another test stands for."""

    number: int
    name: str
    answer: str
    where: tuple[str, ...]
    """``<file>::<test>`` below tests/."""


_DEEP = "[" * 20_000
_SEND = '{"chat_id": {mine}, "content": "%s"}'
_REGISTER = '{"username": "%s", "password": "correct horse"}'
_WIRE = "gateway/test_wire.py"
_HTTP = "acceptance/test_hostile_http.py"
_AUTOBAHN = "conformance/test_autobahn.py::test_every_case_passes"
_TOKENS = "auth/test_tokens.py"


def _me(number: int, name: str, token: str | bytes | None, code: str = "invalid_token") -> Request:
    return Request(number=number, name=name, method="GET", path="/auth/me", token=token, status=401, code=code)


def _register(number: int, name: str, username: str) -> Request:
    return Request(
        number=number,
        name=name,
        path="/auth/register",
        body=_REGISTER % username,
        token=None,
        code="validation_failed",
    )


def _sent(number: int, name: str, content: str, **more: object) -> Request:
    return Request(number=number, name=name, body=_SEND % content, **{"code": "validation_failed", **more})  # type: ignore[arg-type]


REQUESTS = (
    _me(1, "no token", None, "missing_authorization_header"),
    _me(2, "`Bearer` and nothing else", "", "invalid_authorization_header"),
    _me(5, "a token of another key", "{other_key}"),
    _me(6, "`v3.local.…`", "v3.local.AAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
    _me(6, "`v4.public.…`", "v4.public.AAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
    _me(7, "the footer taken away", "{token}.."),
    _me(8, "a token of 100 KB", "v4.local." + "A" * 100_000),
    _me(9, "a token that is not ASCII", b"v4.local.\xff\xfe\xc3\xa9"),
    _me(10, "`=` after the token", "{token}="),
    _me(11, "a socket's ticket as a token", "{ticket}"),
    Request(number=13, name="an empty body", body=b"", code="malformed"),
    Request(number=14, name="JSON that is 20,000 deep", body=_DEEP.encode(), code="malformed"),
    Request(number=15, name="a body that is not UTF-8", body=b'{"content": "\xff"}', code="malformed"),
    _sent(16, "NUL, escaped", "a\\u0000b"),
    _sent(17, "a lone surrogate", "\\ud800"),
    Request(
        number=18,
        name="a field that is not asked for (`is_admin`, `id`, `sender_id`) changes nothing",
        body='{"chat_id": {mine}, "content": "x", "id": 1, "sender_id": 1, "seq": 9, "kind": "system"}',
        status=201,
        holds=lambda body, headers: b'"kind":"text"' in body and b'"seq":9' not in body and b'"id":1,' not in body,
    ),
    Request(
        number=19,
        name="a key twice",
        body='{"chat_id": {mine}, "content": "a", "content": "b"}',
        code="malformed",
    ),
    _sent(20, "text of 16,385 bytes", "a" * 16_385),
    _sent(20, "text of 8,193 characters that are 16,386 bytes", "\u00e9" * 8_193),
    _sent(20, "nothing but white space", " \\t\\n"),
    _sent(20, "nothing but characters of no width", "\\u200b\\ufeff\\u2060"),
    Request(number=21, name="a body over 1 MiB", body=b" " * 1_048_577, status=413, code="too_large"),
    Request(
        number=23,
        name="a body that is compressed",
        body=b"\x1f\x8b\x08",
        headers={"content-encoding": "gzip"},
        status=415,
        code="unsupported_media_type",
    ),
    Request(
        number=24,
        name="JSON that is called text",
        body=_SEND % "x",
        content_type="text/plain",
        status=415,
        code="unsupported_media_type",
    ),
    *(
        Request(
            number=25,
            name=f"`{name}` as an id",
            method="GET",
            path=f"/chats/{given}",
            code="validation_failed",
        )
        for name, given in (("-1", "-1"), ("2^63", str(2**63)), ("23 digits", "9" * 23), ("\u0661", "%D9%A1"))
    ),
    *(
        Request(
            number=26, name=f"`limit={given}`", method="GET", path=f"/chats?limit={given}", code="validation_failed"
        )
        for given in ("0", "-5", "1000000000")
    ),
    *(
        Request(
            number=27,
            name=f"`after={name}`",
            method="GET",
            path="/messages/chat/{mine}?after=" + given,
            code="validation_failed",
        )
        for name, given in (("-1", "-1"), ("2^64", str(2**64)))
    ),
    Request(number=28, name="a chat of others", method="GET", path="/chats/{theirs}", status=403, code="not_a_member"),
    Request(
        number=28,
        name="a chat that there is not",
        method="GET",
        path=f"/chats/{2**62}",
        status=403,
        code="not_a_member",
    ),
    Request(
        number=29,
        name="editing another's message",
        method="PUT",
        path="/messages/{message}",
        body='{"content": "x"}',
        status=403,
        code="not_your_message",
    ),
    Request(
        number=30,
        name="a message by its id under another chat: messages have no such address",
        method="GET",
        path="/chats/{mine}/messages/{message}",
        status=404,
        code="not_found",
    ),
    Request(
        number=31,
        name="letting oneself in",
        path="/chats/{theirs}/members",
        body='{"member_ids": [{me}]}',
        status=403,
        code="not_a_member",
    ),
    Request(
        number=31,
        name="raising oneself",
        method="PATCH",
        path="/chats/{theirs}/members/{me}",
        body='{"is_admin": true}',
        status=403,
        code="not_a_member",
    ),
    Request(
        number=33,
        name="`%_\\';--` in a search finds those letters",
        method="GET",
        path="/users?q=%25_%5C';--",
        status=200,
        holds=lambda body, headers: body == b"[]",
    ),
    _sent(
        34,
        "`<script>`, ESC and right-to-left marks are text, returned as they are",
        "<script>alert(1)</script>\\u001b[31m\\u202e",
        status=201,
        code="",
        holds=lambda body, headers: (
            b"<script>" in body
            and headers["x-content-type-options"] == "nosniff"
            and headers["content-type"].startswith("application/json")
        ),
    ),
    _register(35, "CR and LF in a user name", "ab\\r\\nX-Evil: 1"),
    _register(41, "a user name of 100,000 characters", "a" * 100_000),
    Request(
        number=41,
        name="a password of 100,000 characters",
        path="/auth/register",
        body='{"username": "somebody", "password": "' + "a" * 100_000 + '"}',
        token=None,
        code="validation_failed",
    ),
    Request(
        number=42,
        name="a user name that is taken, in full-width letters",
        path="/auth/register",
        body='{"username": "{my_wide_name}", "password": "correct horse"}',
        token=None,
        status=409,
        code="username_taken",
    ),
    Request(number=44, name="TRACE", method="TRACE", path="/auth/me", status=405, code="method_not_allowed"),
    Request(number=44, name="`%2e%2e`", method="GET", path="/users/%2e%2e/me", status=404, code="not_found"),
)

HANDSHAKES = (
    Handshake(number=47, name="no token and no ticket", query="", code="missing_token"),
    Handshake(number=47, name="a ticket that is none", query="?ticket=v4.local.AAAA"),
    Handshake(number=47, name="a token as a ticket", query="?ticket={token}"),
    Handshake(number=47, name="a ticket as a token", query="?token={ticket}"),
    Handshake(number=47, name="a token of another key", query="?token={other_key}"),
    Handshake(
        number=66, name="`resume=1:-1`", query="?token={token}&resume=1:-1", status=400, code="validation_failed"
    ),
    Handshake(
        number=66,
        name="`resume=1:2^63`",
        query="?token={token}&resume=1:" + str(2**63),
        status=400,
        code="validation_failed",
    ),
    Handshake(number=66, name="`resume=x`", query="?token={token}&resume=x", status=400, code="validation_failed"),
)

_MESSAGE = '{"type": "message", "payload": {"chat_id": %s, "content": %s}}'

FRAMES = (
    Frame(number=52, name="a frame of 65,537 bytes", frame="x" * 65_537, code="", closes=1009),
    Frame(number=60, name="a binary frame", frame=b"\0", code="", closes=1003),
    Frame(number=61, name="what is not JSON", frame="{", code="malformed"),
    Frame(number=61, name="JSON that is 20,000 deep", frame='{"a":' * 8_000, code="malformed"),
    Frame(number=61, name="three in a row that are not JSON", frame="{", times=3, code="malformed", closes=4400),
    Frame(number=61, name="twenty in a row that are no commands", frame="[]", times=20, closes=4429),
    Frame(number=61, name="a key twice", frame='{"type": "ping", "payload": {}, "payload": {}}', code="malformed"),
    Frame(number=62, name="a type that there is not", frame='{"type": "x", "payload": {}}', code="unknown_type"),
    Frame(number=62, name="a type that is no text", frame='{"type": ["message"], "payload": {}}', code="unknown_type"),
    Frame(number=63, name="a message to others' chat", frame=_MESSAGE % ("{theirs}", '"x"'), code="not_a_member"),
    Frame(number=63, name="a message to no chat", frame=_MESSAGE % (2**62, '"x"'), code="not_a_member"),
    Frame(number=63, name="NUL in a message", frame=_MESSAGE % ("{mine}", '"\\u0000"')),
    Frame(number=63, name="a message of 16,385 bytes", frame=_MESSAGE % ("{mine}", '"' + "a" * 16_385 + '"')),
    Frame(number=63, name="a chat's id beyond 64 bits", frame=_MESSAGE % (2**64, '"x"')),
    Frame(
        number=65,
        name="a position that was never reached",
        frame='{"type": "join_chat", "payload": {"chat_id": {mine}, "after_seq": 1000000}}',
        code="resync_required",
    ),
    *(
        Frame(
            number=66,
            name=f"`after_seq: {name}`",
            frame='{"type": "join_chat", "payload": {"chat_id": {mine}, "after_seq": ' + given + "}}",
        )
        for name, given in (("-1", "-1"), ("2^63", str(2**63)), ('"x"', '"x"'))
    ),
)

PROVEN = (
    Proven(
        3, "a token that has expired", "401", (f"{_TOKENS}::test_a_token_is_valid_until_the_very_moment_of_its_expiry",)
    ),
    Proven(4, "a token without `exp`", "401", (f"{_TOKENS}::test_every_claim_is_required",)),
    Proven(
        6,
        "a token of the same key for another purpose or version",
        "401",
        (f"{_TOKENS}::test_the_same_key_under_another_purpose_or_version_is_refused",),
    ),
    Proven(
        7,
        "a token with any bit of box or footer changed",
        "401",
        (f"{_TOKENS}::test_any_flipped_bit_of_the_box_or_footer_is_refused",),
    ),
    Proven(
        8,
        "a token over 1 KiB",
        "401, before it is decrypted",
        (f"{_TOKENS}::test_a_token_over_1_kib_is_refused_before_it_is_decrypted",),
    ),
    Proven(
        10,
        "a token with another last character, or spelled otherwise",
        "401",
        (
            f"{_TOKENS}::test_every_other_last_character_is_refused",
            f"{_TOKENS}::test_every_respelling_of_a_token_is_refused",
        ),
    ),
    Proven(12, "`nbf` or `iat` in the future", "401", (f"{_TOKENS}::test_a_token_from_the_future_is_refused",)),
    Proven(
        22,
        "a body that never ends",
        "408",
        (f"{_HTTP}::test_bodies_that_never_end_are_answered_with_408_and_hold_nobody_up",),
    ),
    Proven(
        32,
        "the last admin leaves, or gives the role away",
        "200, and the longest-standing member becomes admin; 409 `last_admin`",
        ("security/test_inputs.py::test_a_group_keeps_an_admin_whatever_its_last_one_does",),
    ),
    Proven(35, "NUL and odd bytes in a header", "400", (f"{_HTTP}::test_what_is_no_http_is_refused_or_cut_off",)),
    Proven(
        36,
        "two lengths, a length and chunks, a negative length",
        "400, and closed",
        (
            f"{_HTTP}::test_what_is_no_http_is_refused_or_cut_off",
            f"{_HTTP}::test_a_request_that_follows_a_body_of_another_length_is_not_believed",
        ),
    ),
    Proven(37, "20,000 headers, a header of 8 MiB", "431, or closed", (f"{_HTTP}::test_huge_headers_do_no_harm",)),
    Proven(
        38,
        "a `Host` that is missing or foreign",
        "answered like any other: no answer is made from it",
        ("security/test_inputs.py::test_no_answer_is_made_from_the_host",),
    ),
    Proven(
        39,
        "`X-Forwarded-For` by somebody who is no proxy of ours",
        "the connection's address counts",
        ("gateway/test_limits.py::test_whose_word_on_an_address_counts",),
    ),
    Proven(
        40,
        "passwords tried one after the other",
        "429 with growing `Retry-After`; one computation and the same answer for whoever is meant",
        (
            "limiting/test_logins.py::test_after_some_wrong_passwords_the_waits_grow",
            "security/test_permissions.py::test_a_login_costs_one_computation_whoever_is_meant_and_tells_nothing",
        ),
    ),
    Proven(
        43,
        "many registrations of one name at once",
        "one 201, else 409",
        ("services/test_accounts.py::test_of_those_who_race_for_a_name_one_gets_it",),
    ),
    Proven(
        45,
        "CORS from a foreign origin",
        "no `Access-Control-Allow-Origin`",
        ("api/test_application.py::test_only_the_named_origins_may_ask",),
    ),
    Proven(
        46,
        "one nonce a hundred times at once",
        "one message",
        ("storage/test_writer.py::test_a_nonce_handed_over_many_times_at_once_is_one_message",),
    ),
    Proven(
        48,
        "a ticket a second time",
        "401",
        ("gateway/test_sessions.py::test_of_many_who_use_a_ticket_at_once_one_gets_in",),
    ),
    Proven(
        49,
        "a foreign `Origin`, or one that is none",
        "403",
        ("gateway/test_connections.py::test_an_origin_that_is_not_listed_is_refused",),
    ),
    Proven(50, "another version, no key", "400 or 426", (f"{_HTTP}::test_a_handshake_that_is_none_is_refused",)),
    Proven(
        51,
        "an open socket that never says a word",
        "the token comes with the handshake, so there is no first frame to wait for; 4408 without a sign of life",
        ("gateway/test_connections.py::test_who_is_silent_is_pinged_and_then_closed",),
    ),
    Proven(
        53, "a message in fragments of one byte", "closed", (f"{_WIRE}::test_a_message_in_endless_fragments_is_ended",)
    ),
    Proven(
        54,
        "empty continuations without end",
        "closed with 1008",
        (f"{_HTTP}::test_a_frame_that_is_none_ends_the_connection_with_its_code",),
    ),
    Proven(
        55,
        "a fragment that is never finished",
        "4408",
        (f"{_HTTP}::test_half_a_frame_and_then_silence_ends_with_the_heartbeat",),
    ),
    Proven(
        56,
        "a flood of pings whose answers are not read",
        "no memory, then aborted",
        (
            f"{_WIRE}::test_a_flood_of_control_frames_by_a_client_that_does_not_read_is_ended_and_takes_no_memory",
            f"{_WIRE}::test_a_client_that_sends_no_more_and_reads_no_more_is_aborted",
        ),
    ),
    Proven(
        57,
        "not masked, a reserved opcode, a long control frame",
        "1002",
        (
            f"{_HTTP}::test_a_frame_that_is_none_ends_the_connection_with_its_code",
            _AUTOBAHN,
        ),
    ),
    Proven(
        58,
        "text that is not UTF-8",
        "1007",
        (
            f"{_HTTP}::test_a_frame_that_is_none_ends_the_connection_with_its_code",
            _AUTOBAHN,
        ),
    ),
    Proven(
        59,
        "compressed, though nobody agreed to it",
        "1002",
        (f"{_HTTP}::test_a_frame_that_is_none_ends_the_connection_with_its_code",),
    ),
    Proven(
        64,
        "more chats than a connection may follow",
        "`too_many_rooms`",
        ("gateway/test_connections.py::test_a_connection_follows_so_many_chats_and_no_more",),
    ),
    Proven(
        67,
        "commands too fast",
        "`rate_limited` with `retry_after`, then 4429",
        (
            "gateway/test_limits.py::test_sending_too_fast_is_refused_with_the_time_to_wait",
            "gateway/test_limits.py::test_who_goes_on_all_the_same_is_closed",
        ),
    ),
    Proven(
        68,
        "more sockets than a user may have",
        "429",
        ("gateway/test_connections.py::test_a_user_has_so_many_connections_and_no_more",),
    ),
    Proven(
        69,
        "a handshake that trickles",
        "408",
        (f"{_HTTP}::test_headers_that_never_end_are_answered_with_408_and_hold_no_socket",),
    ),
    Proven(
        70,
        "frames before the handshake",
        "400, or closed",
        (
            f"{_HTTP}::test_frames_without_a_handshake_are_no_http",
            f"{_WIRE}::test_who_sends_before_the_handshake_is_answered_gets_no_connection",
        ),
    ),
    Proven(
        71,
        "pings that are never answered",
        "4408",
        ("gateway/test_connections.py::test_who_is_silent_is_pinged_and_then_closed",),
    ),
    Proven(
        72,
        "a close code that is none",
        "1002",
        (
            f"{_HTTP}::test_a_frame_that_is_none_ends_the_connection_with_its_code",
            _AUTOBAHN,
        ),
    ),
    Proven(
        73,
        "a token that expires while its socket is open",
        "4401",
        ("gateway/test_connections.py::test_a_token_that_expires_closes_its_sockets",),
    ),
)
