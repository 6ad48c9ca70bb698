"""The checker finds what was planted, and nothing in a run where all was kept."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatapp.protocol.ids import ChatId, MessageId, Seq, UserId
from tests.chaos.checker import check
from tests.chaos.history import (
    ChangeAcked,
    ChangeInvoked,
    ClientHistory,
    Closed,
    Database,
    FrameKind,
    Heard,
    JoinAcked,
    JoinRefused,
    JoinSent,
    MembershipChanged,
    MessageRow,
    Opened,
    Record,
    Reread,
    ResyncTold,
    Run,
    SendAcked,
    SendInvoked,
    SendRefused,
    digest,
)
from tests.chaos.violations import Fault

CHAT = ChatId(7)
ALICE, BOB = UserId(1), UserId(2)


@dataclass
class Story:
    """A run as it is told: Alice writes into one chat, Bob listens."""

    rows: list[MessageRow] = field(default_factory=list)
    alice: list[Record] = field(default_factory=list)
    bob: list[Record] = field(default_factory=list)
    membership: list[MembershipChanged] = field(default_factory=list)
    last_seq: int = 0
    now: float = 0.0
    connection: int = 0

    def tick(self) -> float:
        self.now += 1
        return self.now

    def send(self, content: str) -> MessageRow:
        seq = self.last_seq = self.last_seq + 1
        message_id, nonce = MessageId(100 + seq), f"n{seq}"
        self.alice.append(SendInvoked(self.tick(), CHAT, nonce, digest(content)))
        self.alice.append(SendAcked(self.tick(), CHAT, nonce, message_id, Seq(seq)))
        row = MessageRow(message_id, CHAT, Seq(seq), None, ALICE, "text", digest(content), nonce, deleted=False)
        self.rows.append(row)
        return row

    def change(self, row: MessageRow, content: str | None) -> MessageRow:
        """Alice edits, or deletes (None), and it is acked."""
        at = self.last_seq = self.last_seq + 1
        ref = f"c{at}"
        new = None if content is None else digest(content)
        self.alice.append(ChangeInvoked(self.tick(), ref, CHAT, row.id, new))
        self.alice.append(ChangeAcked(self.tick(), ref))
        changed = msgspec.structs.replace(row, changed_seq=Seq(at), content=new or 0, deleted=content is None)
        self.rows[[kept.id for kept in self.rows].index(row.id)] = changed
        return changed

    def system(self) -> MessageRow:
        seq = self.last_seq = self.last_seq + 1
        row = MessageRow(MessageId(100 + seq), CHAT, Seq(seq), None, None, "system", digest("who"), None, deleted=False)
        self.rows.append(row)
        return row

    def bob_connects(self, after: int = 0) -> None:
        self.connection += 1
        self.bob.append(Opened(self.tick(), self.connection, 0, "e", {}))
        self.bob.append(JoinSent(self.tick(), self.connection, CHAT, Seq(after)))

    def bob_is_current(self, seq: int | None = None) -> None:
        self.bob.append(JoinAcked(self.tick(), self.connection, CHAT, Seq(self.last_seq if seq is None else seq)))

    def bob_hears(self, *rows: MessageRow) -> None:
        for row in rows:
            frame = FrameKind.MESSAGE if row.kind == "text" else FrameKind.SYSTEM
            message_id = row.id if row.kind == "text" else None
            self.bob.append(Heard(self.tick(), self.connection, CHAT, row.seq, row.seq, frame, message_id, row.content))

    def bob_hears_change(self, row: MessageRow) -> None:
        frame = FrameKind.DELETED if row.deleted else FrameKind.UPDATED
        content = None if row.deleted else row.content
        assert row.changed_seq is not None
        heard = Heard(self.tick(), self.connection, CHAT, row.changed_seq, row.seq, frame, row.id, content)
        self.bob.append(heard)

    def bob_disconnects(self) -> None:
        self.bob.append(Closed(self.tick(), self.connection, None))

    def run(self) -> Run:
        entered = [MembershipChanged(CHAT, user, True, Seq(-1), Seq(0)) for user in (ALICE, BOB)]
        last_seqs = {CHAT: Seq(self.last_seq)}
        return Run(
            [
                ClientHistory("alice", ALICE, records=self.alice),
                ClientHistory("bob", BOB, records=self.bob),
            ],
            [*entered, *self.membership],
            Database(self.rows, last_seqs, {(CHAT, ALICE), (CHAT, BOB)}),
        )

    def faults(self) -> set[Fault]:
        return {violation.fault for violation in check(self.run())}


def a_clean_story() -> Story:
    """Bob hears two live, is away for an edit, a deletion and two messages, has them replayed, and hears one more."""
    story = Story()
    story.bob_connects()
    story.bob_is_current()
    first, second = story.send("one"), story.send("two")
    story.bob_hears(first, second)
    story.bob_disconnects()
    third = story.send("three")
    edited = story.change(first, "one, mended")
    deleted = story.change(second, None)
    fourth = story.send("four")
    newer = story.change(third, "three, mended")
    story.bob_connects(after=2)
    story.bob_hears(newer)
    story.bob_hears_change(edited)
    story.bob_hears_change(deleted)
    story.bob_hears(fourth)
    story.bob_is_current()
    story.bob_hears(story.send("five"))
    return story


def heard_at(story: Story) -> list[int]:
    return [index for index, record in enumerate(story.bob) if isinstance(record, Heard)]


def test_a_run_that_kept_everything_has_no_violation() -> None:
    assert check(a_clean_story().run()) == []


@pytest.mark.parametrize("which", [0, 2, 3, 4, 5, 6])  # who did not hear 1 would not have joined after 2
def test_any_frame_that_is_dropped_is_found(which: int) -> None:
    story = a_clean_story()
    del story.bob[heard_at(story)[which]]
    assert Fault.LOST in story.faults()


@pytest.mark.parametrize("which", range(7))
def test_any_frame_that_is_heard_twice_is_found(which: int) -> None:
    story = a_clean_story()
    at = heard_at(story)[which]
    story.bob.insert(at, story.bob[at])
    assert Fault.DOUBLED in story.faults()


@pytest.mark.parametrize("which", [0, 2, 3, 4])
def test_frames_that_are_swapped_are_found(which: int) -> None:
    story = a_clean_story()
    at = heard_at(story)[which]
    story.bob[at], story.bob[at + 1] = story.bob[at + 1], story.bob[at]
    assert Fault.REORDERED in story.faults()


@pytest.mark.parametrize("which", [0, 1, 2, 3, 5, 6])
def test_a_frame_with_another_content_is_found(which: int) -> None:
    story = a_clean_story()
    at = heard_at(story)[which]
    story.bob[at] = msgspec.structs.replace(story.bob[at], content=digest("something else"))
    assert Fault.ALTERED in story.faults()


def test_a_frame_with_the_content_of_before_an_acked_edit_is_found() -> None:
    story = a_clean_story()
    stale = heard_at(story)[2]
    story.bob[stale] = msgspec.structs.replace(story.bob[stale], content=digest("three"))
    assert Fault.LOST in story.faults()


def test_two_who_hear_different_sentences_at_one_position_are_found() -> None:
    story = Story()
    row = story.system()
    story.bob_connects()
    story.bob_hears(row)
    story.bob_is_current()
    story.bob_disconnects()
    story.bob_connects()
    story.bob_hears(msgspec.structs.replace(row, content=digest("what")))
    story.bob_is_current()
    assert story.faults() == {Fault.ALTERED}


@pytest.mark.parametrize("which", range(5))
def test_an_acked_message_that_is_absent_is_found(which: int) -> None:
    story = a_clean_story()
    del story.rows[which]
    assert Fault.LOST in story.faults()


def test_an_acked_message_that_is_kept_with_another_content_is_found() -> None:
    story = a_clean_story()
    story.rows[-1] = msgspec.structs.replace(story.rows[-1], content=digest("other"))
    assert Fault.ALTERED in story.faults()


def test_a_nonce_that_is_kept_twice_is_found() -> None:
    story = a_clean_story()
    story.last_seq += 1
    twin = msgspec.structs.replace(story.rows[-1], id=MessageId(999), seq=Seq(story.last_seq))
    story.rows.append(twin)
    story.bob_hears(twin)
    assert Fault.DOUBLED in story.faults()


def test_a_content_that_is_kept_twice_without_its_nonce_is_found() -> None:
    story = a_clean_story()
    story.last_seq += 1
    twin = msgspec.structs.replace(story.rows[-1], id=MessageId(999), seq=Seq(story.last_seq), nonce=None)
    story.rows.append(twin)
    story.bob_hears(twin)
    assert Fault.DOUBLED in story.faults()


def test_a_retry_that_is_acked_as_another_message_is_found() -> None:
    story = a_clean_story()
    story.alice.append(SendAcked(story.tick(), CHAT, "n1", MessageId(999), Seq(99)))
    assert Fault.DOUBLED in story.faults()


def test_a_message_that_nobody_wrote_is_found() -> None:
    story = a_clean_story()
    ghost = story.send("six")
    story.bob_hears(ghost)
    del story.alice[-2:]
    assert Fault.PHANTOM in story.faults()


def test_a_frame_of_no_row_is_found() -> None:
    story = a_clean_story()
    beyond = msgspec.structs.replace(story.rows[-1], id=MessageId(999), seq=Seq(story.last_seq + 1))
    story.bob_hears(beyond)
    assert Fault.PHANTOM in story.faults()


def test_a_message_that_was_refused_at_its_only_attempt_and_kept_is_found() -> None:
    story = a_clean_story()
    story.bob_hears(story.send("six"))
    story.alice[-1] = SendRefused(story.tick(), f"n{story.last_seq}", "not_a_member", attempts=1)
    assert story.faults() == {Fault.PHANTOM}


def test_a_message_that_was_refused_after_an_attempt_of_unknown_end_may_be_kept() -> None:
    story = a_clean_story()
    story.bob_hears(story.send("six"))
    story.alice[-1] = SendRefused(story.tick(), f"n{story.last_seq}", "not_a_member", attempts=2)
    assert story.faults() == set()


def test_a_nonce_that_is_said_to_be_of_another_message_is_found() -> None:
    story = a_clean_story()
    story.alice.append(SendInvoked(story.tick(), CHAT, "new", digest("new")))
    story.alice.append(SendRefused(story.tick(), "new", "nonce_reused", attempts=2))
    assert story.faults() == {Fault.ALTERED}


def test_a_message_of_unknown_end_may_be_there_or_not() -> None:
    story = a_clean_story()
    story.bob_hears(story.send("six"))
    del story.alice[-1]
    story.alice.append(SendInvoked(story.tick(), CHAT, "never seen again", digest("seven")))
    assert story.faults() == set()


def test_a_message_that_stands_before_one_that_was_acked_before_it_was_sent_is_found() -> None:
    story = Story()
    story.send("one")
    story.send("two")
    one, two = story.rows
    story.rows = [
        msgspec.structs.replace(one, seq=Seq(2)),
        msgspec.structs.replace(two, seq=Seq(1)),
    ]
    story.alice[1] = SendAcked(2.0, CHAT, "n1", one.id, Seq(2))
    story.alice[3] = SendAcked(4.0, CHAT, "n2", two.id, Seq(1))
    assert story.faults() == {Fault.REORDERED}


def test_messages_that_were_under_way_at_once_may_stand_in_either_order() -> None:
    story = Story()
    story.send("one")
    story.send("two")
    one, two = story.rows
    story.rows = [msgspec.structs.replace(one, seq=Seq(2)), msgspec.structs.replace(two, seq=Seq(1))]
    story.alice = [
        SendInvoked(1.0, CHAT, "n1", one.content),
        SendInvoked(2.0, CHAT, "n2", two.content),
        SendAcked(3.0, CHAT, "n1", one.id, Seq(2)),
        SendAcked(4.0, CHAT, "n2", two.id, Seq(1)),
    ]
    assert story.faults() == set()


def test_an_acked_edit_that_is_not_kept_is_found() -> None:
    story = a_clean_story()
    story.rows[0] = msgspec.structs.replace(story.rows[0], content=digest("one"))
    assert Fault.LOST in story.faults()


def test_an_acked_deletion_that_is_not_kept_is_found() -> None:
    story = a_clean_story()
    story.rows[1] = msgspec.structs.replace(story.rows[1], content=digest("two"), deleted=False)
    assert Fault.LOST in story.faults()


def test_an_edit_of_unknown_end_may_be_kept_or_not() -> None:
    for kept in (True, False):
        story = a_clean_story()
        if kept:
            row = story.change(story.rows[-1], "five, mended")
            story.bob_hears_change(row)
            del story.alice[-1]
        else:
            story.alice.append(ChangeInvoked(story.tick(), "late", CHAT, story.rows[-1].id, digest("five, mended")))
        assert story.faults() == set()


def test_a_change_that_was_superseded_leaves_a_number_without_a_frame() -> None:
    story = a_clean_story()
    story.change(story.rows[0], "one, mended again")
    row = story.change(story.rows[0], "one, mended at last")
    story.bob_hears_change(row)
    assert story.faults() == set()


def test_a_deletion_that_was_not_heard_is_found() -> None:
    story = a_clean_story()
    story.change(story.rows[-1], None)
    assert story.faults() == {Fault.LOST}


def test_a_number_that_nothing_carries_is_found() -> None:
    story = Story()
    story.send("one")
    story.last_seq += 1
    story.send("three")
    assert story.faults() == {Fault.NUMBERING}


def test_a_number_that_is_used_twice_is_found() -> None:
    story = a_clean_story()
    story.rows[0] = msgspec.structs.replace(story.rows[0], changed_seq=story.rows[1].changed_seq)
    assert Fault.NUMBERING in story.faults()


def test_a_number_beyond_the_chats_last_is_found() -> None:
    story = a_clean_story()
    story.last_seq -= 1
    assert Fault.NUMBERING in story.faults()


def removed_and_added(story: Story) -> tuple[MessageRow, MessageRow]:
    """Bob is removed after all that was, misses two messages, and is added again."""
    removal = story.last_seq
    story.system()
    story.membership.append(MembershipChanged(CHAT, BOB, False, Seq(removal), Seq(removal + 1)))
    missed = story.send("not for bob"), story.send("not for bob either")
    addition = story.last_seq
    story.system()
    story.membership.append(MembershipChanged(CHAT, BOB, True, Seq(addition), Seq(addition + 1)))
    return missed


def bob_hears_of_his_removal(story: Story) -> None:
    seq = Seq(story.last_seq + 1)
    heard = Heard(story.tick(), story.connection, CHAT, seq, seq, FrameKind.MEMBER_REMOVED, subject=BOB)
    story.bob.append(heard)


def test_a_member_that_was_added_again_may_be_replayed_what_it_missed() -> None:
    story = a_clean_story()
    bob_hears_of_his_removal(story)
    after = story.last_seq + 1
    missed = removed_and_added(story)
    story.bob.append(JoinSent(story.tick(), story.connection, CHAT, Seq(after)))
    story.bob_hears(*missed, story.rows[-1])
    story.bob_is_current()
    assert story.faults() == set()


def test_who_goes_on_further_than_they_were_is_found() -> None:
    story = Story()
    story.bob_connects()
    story.bob_is_current()
    story.bob_hears(story.send("one"))
    story.bob_disconnects()
    story.send("two")
    story.bob_connects(after=2)
    story.bob_is_current()
    story.bob_hears(story.send("three"))
    assert story.faults() == {Fault.LOST}


def test_who_was_acked_beyond_the_last_frame_goes_on_from_there() -> None:
    story = Story()
    story.bob_connects()
    first = story.send("one")
    edited = story.change(first, "two")
    story.bob_hears(edited)
    story.bob_disconnects()  # after the ack, which this client does not tell
    story.bob_connects(after=2)
    story.bob_is_current()
    story.bob_hears(story.send("three"))
    assert story.faults() == set()


def test_what_is_heard_live_after_a_removal_is_found() -> None:
    story = a_clean_story()
    missed = removed_and_added(story)
    story.bob_hears(story.rows[-4], *missed, story.rows[-1])
    assert story.faults() == {Fault.LEAKED}


def test_what_is_heard_after_hearing_of_the_own_removal_is_found() -> None:
    story = a_clean_story()
    bob_hears_of_his_removal(story)
    missed = removed_and_added(story)
    story.bob_hears(missed[0])
    assert Fault.LEAKED in story.faults()


def test_a_replay_to_somebody_who_is_no_member_is_found() -> None:
    story = a_clean_story()
    after = story.last_seq + 1
    bob_hears_of_his_removal(story)
    missed = removed_and_added(story)
    story.bob.append(JoinSent(story.tick(), story.connection, CHAT, Seq(after)))
    story.bob_hears(*missed)
    story.bob_is_current(missed[1].seq)
    story.bob_hears(story.rows[-1])
    assert story.faults() == {Fault.LEAKED}


def test_frames_before_a_join_is_refused_are_found() -> None:
    story = Story()
    row = story.send("one")
    story.bob_connects()
    story.bob_hears(row)
    story.bob.append(JoinRefused(story.tick(), story.connection, CHAT, "not_a_member"))
    assert Fault.LEAKED in story.faults()


def test_what_a_stranger_hears_is_found() -> None:
    story = a_clean_story()
    run = story.run()
    bob_was_never_in = [change for change in run.membership if change.user_id != BOB]
    database = Database(run.database.messages, run.database.last_seqs, {(CHAT, ALICE)})
    found = check(Run(run.histories, bob_was_never_in, database))
    assert Fault.LEAKED in {violation.fault for violation in found}


def test_a_client_that_was_told_to_resync_has_the_rest_over_rest() -> None:
    for complete in (True, False):
        story = Story()
        rows = [story.send(f"message {number}") for number in range(5)]
        story.bob_connects()
        story.bob.append(ResyncTold(story.tick(), story.connection, CHAT))
        story.bob.append(JoinRefused(story.tick(), story.connection, CHAT, "resync_required"))
        read = {row.seq: row.content for row in (rows if complete else rows[1:])}
        story.bob.append(Reread(story.tick(), CHAT, Seq(5), read))
        story.bob.append(JoinSent(story.tick(), story.connection, CHAT, Seq(5)))
        story.bob_is_current()
        story.bob_hears(story.send("live"))
        assert story.faults() == (set() if complete else {Fault.LOST})


@given(st.lists(st.sampled_from(["send", "edit", "delete", "drop", "join"]), max_size=40))
def test_a_receiver_that_follows_the_protocol_is_never_accused(steps: list[str]) -> None:
    """Whatever is sent, changed and replayed in whatever order: a correct server leaves no violation."""
    story, connected, position = Story(), True, 0
    story.bob_connects()
    story.bob_is_current()
    for step in steps:
        living = [row for row in story.rows if not row.deleted]
        if step == "send":
            row = story.send(f"message {story.last_seq}")
            if connected:
                story.bob_hears(row)
        elif step in ("edit", "delete") and living:
            row = living[story.last_seq % len(living)]
            row = story.change(row, f"edit {story.last_seq}" if step == "edit" else None)
            if connected:
                story.bob_hears_change(row)
        elif step == "drop" and connected:
            story.bob_disconnects()
            connected, position = False, story.last_seq
        elif step == "join" and not connected:
            replay(story, position)
            connected = True
    if not connected:
        replay(story, position)
    assert check(story.run()) == []


def replay(story: Story, after: int) -> None:
    story.bob_connects(after)
    sent = [(row.seq, False, row) for row in story.rows if row.seq > after and not row.deleted]
    changed = [(row.changed_seq, True, row) for row in story.rows if row.changed_seq and row.changed_seq > after]
    older = [event for event in changed if event[2].seq <= after or event[2].deleted]
    for _, is_change, row in sorted(sent + older, key=lambda event: event[0]):
        if is_change:
            story.bob_hears_change(row)
        else:
            story.bob_hears(row)
    story.bob_is_current()
