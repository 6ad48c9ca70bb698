"""The session's rules: what is told, what is asked for again, and when another connection is tried."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatapp.client.backoff import Loss, Timing
from chatapp.client.errors import Invalid, Refused
from chatapp.client.events import CaughtUp, Connected, NotFollowed, SessionEvent, StartedOver, place_of
from chatapp.client.machine import Drop, Effect, GiveUp, Machine, ReadHistory, Reconnect, Renew, Tell, Write
from chatapp.client.outbox import Settled
from chatapp.protocol.codes import CloseCode
from chatapp.protocol.commands import Command, Ping, Resume, SendMessage, SendPayload
from chatapp.protocol.events import (
    Ack,
    AckPayload,
    ChatPosition,
    Error,
    ErrorPayload,
    GoingAway,
    GoingAwayPayload,
    MemberAdded,
    MemberChangedPayload,
    MessageDeleted,
    MessageDeletedPayload,
    MessagePayload,
    MessageSent,
    MessageUpdated,
    MessageUpdatedPayload,
    Pong,
    Ready,
    ReadyPayload,
    ServerEvent,
    System,
    SystemPayload,
)
from chatapp.protocol.ids import ChatId, ConnectionId, MessageId, Seq, UserId

ME = UserId(1)
CHAT = ChatId(7)
AT = datetime(2026, 1, 1, tzinfo=UTC)
TIMING = Timing()

_decode = msgspec.json.Decoder(Command).decode


def machine(positions: dict[ChatId, Seq] | None = None, *, addresses: int = 1, epoch: str = "") -> Machine:
    return Machine(
        epoch=epoch,
        positions=positions or {},
        only=None,
        timing=TIMING,
        addresses=addresses,
        rng=random.Random(1),
    )


def ready(*chats: tuple[int, int], epoch: str = "one") -> Ready:
    told = [ChatPosition(ChatId(chat), Seq(seq), Seq(0)) for chat, seq in chats]
    return Ready(ReadyPayload(ME, ConnectionId("c"), AT, 25, epoch, told))


def message(seq: int, content: str = "hello", chat: int = CHAT) -> MessageSent:
    return MessageSent(MessagePayload(MessageId(seq), content, UserId(2), "bob", ChatId(chat), AT, Seq(seq), "text"))


def resumed(seq: int, chat: int = CHAT) -> Ack:
    return Ack(AckPayload("resume", ChatId(chat), seq=Seq(seq)))


def refused(code: str, chat: int | None = None, ref: str | None = None, after: float | None = None) -> Error:
    payload = ErrorPayload(code, code, None, after, None if chat is None else ChatId(chat))
    return Error(payload) if ref is None else Error(payload, id=ref)


def told(effects: Sequence[Effect]) -> list[SessionEvent]:
    return [effect.event for effect in effects if isinstance(effect, Tell)]


def written(effects: Sequence[Effect]) -> list[Command]:
    return [_decode(effect.frame) for effect in effects if isinstance(effect, Write)]


def live(position: int = 5) -> Machine:
    """Connected, and live in one chat."""
    made = machine()
    made.receive(ready((CHAT, position)), 0.0)
    made.receive(resumed(position), 0.0)
    return made


def send(made: Machine, ref: str, content: str = "hello") -> None:
    made.outbox.add(ref, msgspec.json.encode(SendMessage(SendPayload(CHAT, content, f"nonce of {ref}"), id=ref)))


# -- following --------------------------------------------------------------------------------------------------------


def test_without_a_bookmark_it_goes_live_from_where_the_chats_stand() -> None:
    made = machine()
    assert made.query() == "follow=none"
    effects = made.receive(ready((CHAT, 5)), 0.0, url="http://one")
    (resume,) = written(effects)
    assert isinstance(resume, Resume)
    assert resume.payload.positions == {CHAT: 5}
    assert told(effects) == [Connected("http://one", ConnectionId("c"), ME, "one", {CHAT: Seq(5)})]
    assert told(made.receive(resumed(5), 0.1)) == [CaughtUp(0, {CHAT: Seq(5)})]
    assert told(made.receive(message(6), 0.2)) == [message(6)]


def test_a_bookmark_is_resumed_in_the_address_and_what_was_missed_is_counted() -> None:
    made = machine({CHAT: Seq(3)})
    assert made.query() == "follow=none&resume=7:3"
    assert written(made.receive(ready((CHAT, 5)), 0.0)) == []
    heard = [event for seq in (4, 5) for event in told(made.receive(message(seq), 0.0))]
    assert heard == [message(4), message(5)]
    assert told(made.receive(resumed(5), 0.0)) == [CaughtUp(2, {CHAT: Seq(5)})]


def test_what_does_not_fit_the_address_is_resumed_by_command() -> None:
    positions = {ChatId(number): Seq(10**6) for number in range(10**8, 10**8 + 1200)}
    made = machine(positions)
    query = made.query()
    assert len(query) < 3100
    in_address = {int(part.partition(":")[0]) for part in query.partition("resume=")[2].split(",")}
    commands = written(made.receive(ready(*((int(chat), 10**6) for chat in positions)), 0.0))
    by_command = [set(c.payload.positions) for c in commands if isinstance(c, Resume)]
    assert all(len(batch) <= 500 for batch in by_command)
    assert in_address.isdisjoint(set().union(*by_command))
    assert in_address.union(*by_command) == set(positions)


def test_the_second_frame_of_a_row_that_the_link_cut_off_is_fetched_and_the_first_not_told_again() -> None:
    made = live(5)
    sentence = System(SystemPayload(CHAT, "bob was added", Seq(6)))
    added = MemberAdded(MemberChangedPayload(CHAT, UserId(2), "bob", Seq(6)))
    assert told(made.receive(sentence, 1.0)) == [sentence]
    made.lost(Loss("broke"), 2.0)
    assert made.query() == "follow=none&resume=7:5"
    made.receive(ready((CHAT, 6)), 3.0)
    assert told(made.receive(sentence, 3.0)) == []
    assert told(made.receive(added, 3.0)) == [added]
    made.receive(resumed(6), 3.0)
    assert told(made.receive(added, 3.0)) == []


def test_a_chat_in_which_one_is_no_member_any_more_is_told_and_not_resumed_again() -> None:
    made = machine({CHAT: Seq(3)})
    made.query()
    made.receive(ready(), 0.0)
    events = told(made.receive(refused("not_a_member", CHAT), 0.0))
    assert events == [NotFollowed(CHAT, "not_a_member"), CaughtUp(0, {})]
    made.lost(Loss("broke"), 1.0)
    assert made.query() == "follow=none"


def test_a_resume_that_the_service_could_not_do_now_is_asked_for_again_when_it_says() -> None:
    made = machine({CHAT: Seq(3)})
    made.query()
    made.receive(ready((CHAT, 5)), 0.0)
    assert made.receive(refused("unavailable", CHAT, after=2.0), 0.0) == []
    assert written(made.tick(1.9)) == []
    (resume,) = written(made.tick(3.1))
    assert isinstance(resume, Resume)
    assert resume.payload.positions == {CHAT: 3}


def test_too_far_behind_is_read_over_rest_and_resumed_from_where_that_ended() -> None:
    made = machine({CHAT: Seq(3)})
    made.query()
    made.receive(ready((CHAT, 9000)), 0.0)
    assert made.receive(refused("resync_required", CHAT), 0.0) == [ReadHistory(CHAT)]
    assert made.following.reading_from(CHAT) == 3
    made.following.read(CHAT, Seq(9000))
    (resume,) = written(made.chat_read(CHAT, 1.0))
    assert isinstance(resume, Resume)
    assert resume.payload.positions == {CHAT: 9000}
    assert told(made.receive(resumed(9000), 1.0)) == [CaughtUp(0, {CHAT: Seq(9000)})]


def test_another_epoch_voids_the_positions_and_is_told() -> None:
    made = live(5)
    made.lost(Loss("broke"), 1.0)
    made.query()
    effects = made.receive(ready((CHAT, 2), epoch="two"), 2.0)
    assert told(effects) == [StartedOver("two")]
    (drop,) = [effect for effect in effects if isinstance(effect, Drop)]
    assert made.lost(drop.loss, 2.0) == ([], Reconnect(0.0))
    assert made.query() == "follow=none"
    assert told(made.receive(ready((CHAT, 2), epoch="two"), 2.1))[0].positions == {CHAT: 2}  # type: ignore[union-attr]


def test_what_there_is_no_room_for_is_fetched_on_another_connection() -> None:
    made = live(5)
    assert told(made.receive(message(6), 1.0, room=True)) == [message(6)]
    assert told(made.receive(message(7), 1.0, room=False)) == []
    assert told(made.receive(message(8), 1.0, room=True)) == []  # or it would be told before 7
    (drop,) = made.room_again()
    assert isinstance(drop, Drop)
    assert made.lost(drop.loss, 1.0) == ([], Reconnect(0.0))
    assert made.query() == "follow=none&resume=7:6"


# -- commands ---------------------------------------------------------------------------------------------------------


def test_a_command_is_said_again_until_it_is_answered_also_on_the_next_connection() -> None:
    made = live()
    send(made, "a")
    (first,) = written(made.written(1.0))
    assert written(made.tick(2.0)) == []
    assert written(made.tick(1.1 + TIMING.answer_s)) == [first]
    made.lost(Loss("broke"), 12.0)
    assert written(made.tick(13.0)) == []
    made.query()
    assert first in written(made.receive(ready((CHAT, 5)), 14.0))
    ack = AckPayload("message", CHAT, MessageId(1), Seq(6))
    assert made.receive(Ack(ack, id="a"), 14.1) == [Settled("a", ack)]
    assert made.receive(Ack(ack, id="a"), 14.2) == []
    assert not made.awaits_answers


def test_what_may_succeed_later_is_tried_later_and_what_may_not_is_settled() -> None:
    made = live()
    send(made, "a")
    made.written(1.0)
    assert made.receive(refused("rate_limited", ref="a", after=3.0), 1.0) == []
    assert written(made.tick(3.9)) == []
    assert len(written(made.tick(5.1))) == 1
    (settled,) = made.receive(refused("not_a_member", ref="a"), 5.2)
    assert isinstance(settled, Settled)
    assert isinstance(settled.answer, Refused)
    assert settled.answer.code == "not_a_member"


def test_a_deletion_that_was_done_by_a_lost_attempt_is_a_success() -> None:
    for attempts, succeeds in ((1, False), (2, True)):
        made = live()
        made.outbox.add("d", b"{}", deletes=True)
        for attempt in range(attempts):
            made.written(attempt * 20.0)
        (settled,) = made.receive(refused("message_not_found", ref="d"), 40.0)
        assert isinstance(settled, Settled)
        assert isinstance(settled.answer, AckPayload) is succeeds


def test_a_frame_that_the_service_finds_too_large_is_not_sent_for_ever() -> None:
    made = live()
    send(made, "small")
    send(made, "large", "x" * 9000)
    made.written(1.0)
    (settled,), _ = made.lost(Loss("frame too large", code=CloseCode.TOO_LARGE), 2.0)
    assert isinstance(settled, Settled)
    assert settled.ref == "large"
    assert isinstance(settled.answer, Invalid)


# -- connections ------------------------------------------------------------------------------------------------------


def test_a_silent_server_is_pinged_and_then_left() -> None:
    made = live()
    assert made.tick(TIMING.silence_s) == []
    (ping,) = written(made.tick(TIMING.silence_s + 1))
    assert isinstance(ping, Ping)
    made.receive(Pong(), TIMING.silence_s + 2)
    assert made.tick(TIMING.silence_s + 3) == []
    made.tick(2 * TIMING.silence_s + 3)
    (drop,) = made.tick(2 * TIMING.silence_s + 4 + TIMING.pong_s)
    assert isinstance(drop, Drop)


def test_a_socket_that_is_left_unread_is_not_taken_for_a_silent_one() -> None:
    made = live()
    made.pauses()
    assert made.tick(1000.0) == []
    made.goes_on(1000.0)
    assert made.tick(1001.0) == []


def test_a_replay_that_does_not_go_on_is_begun_again() -> None:
    made = machine({CHAT: Seq(3)})
    made.query()
    made.receive(ready((CHAT, 5)), 0.0)
    for second in range(1, int(TIMING.stalled_s)):
        made.receive(Pong(), float(second))
    (drop,) = made.tick(TIMING.stalled_s + 1)
    assert isinstance(drop, Drop)


def waits(loss: Loss, *, going_away_ms: int | None = None, failures: int = 0, lived_s: float = 60.0) -> list[float]:
    """The pause after such a loss, for many clients."""
    found: list[float] = []
    for seed in range(200):
        made = machine()
        made._rng = random.Random(seed)
        for _ in range(failures):
            made.lost(Loss("away"), 0.0)
        if lived_s:
            made.receive(ready(), 0.0)
        if going_away_ms is not None:
            made.receive(GoingAway(GoingAwayPayload(going_away_ms)), lived_s)
        _, then = made.lost(loss, lived_s)
        assert isinstance(then, Reconnect)
        found.append(then.in_s)
    return found


def test_the_pause_grows_with_full_jitter_up_to_its_cap() -> None:
    for failures, most in ((0, 1.0), (1, 2.0), (3, 8.0), (20, 30.0)):
        found = waits(Loss("away"), failures=failures, lived_s=0.0)
        assert min(found) < most / 10
        assert most * 0.9 < max(found) <= most


def test_a_draining_replica_says_when_to_return_and_else_it_is_within_five_seconds() -> None:
    drained = Loss("drain", code=CloseCode.SERVICE_RESTART)
    assert set(waits(drained, going_away_ms=1234)) == {1.234}
    found = waits(drained)
    assert min(found) < 0.5
    assert 4.5 < max(found) <= 5.0


def test_what_retry_after_says_is_honoured() -> None:
    for status in (429, 503):
        found = waits(Loss("later", status=status, retry_after_s=7.0), lived_s=0.0)
        assert 7.0 <= min(found) < max(found) <= 8.0


def test_who_was_too_fast_waits_longer() -> None:
    assert min(waits(Loss("too fast", code=CloseCode.TOO_MANY_ERRORS))) >= 5.0


@pytest.mark.parametrize("loss", [Loss("no", code=CloseCode.UNAUTHORISED), Loss("no", status=401)])
def test_a_refused_token_is_renewed_but_not_for_ever(loss: Loss) -> None:
    made = machine()
    assert [made.lost(loss, 0.0)[1] for _ in range(3)] == [Renew(), Renew(), GiveUp("no")]


def test_it_gives_up_when_no_address_is_the_service() -> None:
    made = machine(addresses=2)
    assert isinstance(made.lost(Loss("not found", status=404), 0.0)[1], Reconnect)
    assert made.lost(Loss("not found", status=404), 0.0)[1] == GiveUp("not found")


# -- everything at once -----------------------------------------------------------------------------------------------


class Service:
    """A chat as the service keeps it, and what a connection to it hears."""

    def __init__(self) -> None:
        self.rows: list[ServerEvent] = []

    def happens(self, kind: str) -> list[ServerEvent]:
        """Append a row of such a kind; the frames that tell of it."""
        seq = Seq(len(self.rows) + 1)
        if kind == "edit" and self.rows:
            change = MessageUpdatedPayload(MessageId(1), CHAT, f"edit {seq}", Seq(1), seq, AT)
            self.rows.append(MessageUpdated(change))
        elif kind == "delete" and self.rows:
            self.rows.append(MessageDeleted(MessageDeletedPayload(MessageId(1), CHAT, Seq(1), seq)))
        elif kind == "system":
            self.rows.append(System(SystemPayload(CHAT, f"row {seq}", seq)))
        else:
            self.rows.append(message(seq, f"row {seq}"))
        return self.frames(seq)

    def frames(self, seq: int) -> list[ServerEvent]:
        row = self.rows[seq - 1]
        if isinstance(row, System):
            return [row, MemberAdded(MemberChangedPayload(CHAT, UserId(2), "bob", Seq(seq)))]
        return [row]


STEPS = st.lists(
    st.one_of(
        st.sampled_from(["message", "edit", "delete", "system", "take", "take all"]),
        st.tuples(st.just("cut"), st.integers(0, 6)),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(STEPS, st.integers(1, 5))
def test_whatever_is_cut_and_however_slow_the_reader_each_frame_is_told_once_and_in_order(
    steps: list[str | tuple[str, int]], limit: int
) -> None:
    """The link is cut after any frame, the reader's queue holds ``limit`` events; at the end all was told."""
    service, made, now = Service(), machine({CHAT: Seq(0)}), 0.0
    queue: list[SessionEvent] = []
    taken: list[SessionEvent] = []
    link: list[ServerEvent] = []

    def connect() -> None:
        query = made.query()
        made.receive(ready((CHAT, len(service.rows))), now)
        after = int(query.rpartition(":")[2])
        link.extend(frame for seq in range(after + 1, len(service.rows) + 1) for frame in service.frames(seq))
        link.append(resumed(len(service.rows)))

    def deliver(count: int | None = None) -> None:
        for event in link[:count]:
            queue.extend(
                event
                for event in told(made.receive(event, now, room=len(queue) < limit))
                if not isinstance(event, CaughtUp)
            )
        link.clear()

    def cut(count: int | None) -> None:
        deliver(count)
        made.lost(Loss("cut"), now)
        connect()

    def take(count: int) -> None:
        taken.extend(queue[:count])
        del queue[:count]
        deliver()
        if made.room_again():
            cut(None)

    connect()
    for step in steps:
        now += 1.0
        match step:
            case ("cut", int(count)):
                cut(count)
            case "take":
                take(1)
            case "take all":
                take(limit)
            case str(kind):
                link.extend(service.happens(kind))
                if len(link) > 3:
                    deliver()
    for _ in range(3 * len(service.rows) + 3):
        take(limit)
    expected = [frame for seq in range(1, len(service.rows) + 1) for frame in service.frames(seq)]
    assert taken == expected
    assert [place_of(event) for event in taken] == [place_of(event) for event in expected]
    assert made.following.positions == {CHAT: len(service.rows)}
