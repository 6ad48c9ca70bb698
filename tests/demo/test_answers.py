from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest

from chatapp.demo.answers import HELP, answer, is_addressed
from chatapp.demo.story import load_story

NOW = datetime(2026, 5, 3, 9, 30, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Robin, what time is it?", "It is 09:30:05 (UTC)."),
        ("which day is today", "Today is Sunday, 3 May 2026."),
        ("help!", HELP),
        ("thanks", "Any time."),
    ],
)
def test_it_answers_what_it_knows(text: str, said: str) -> None:
    assert answer(text, NOW, random.Random(1)) == said


@pytest.mark.parametrize("text", ["", "🐕", "<script>alert(1)</script>", "a" * 16_384, "toss a coin", "roll"])
def test_it_has_something_to_say_to_everything(text: str) -> None:
    assert 0 < len(answer(text, NOW, random.Random(1))) < 200


def test_in_a_group_it_answers_to_its_name_alone() -> None:
    assert is_addressed("Robin, are you there?", "robin")
    assert is_addressed("@robin?", "robin")
    assert not is_addressed("two robins in the garden", "robin")


def test_everybody_in_the_story_is_there_and_says_things_in_their_own_chats_only() -> None:
    story = load_story()
    assert story.bot in story.people
    for talk in story.talks:
        assert set(talk.members) <= set(story.people)
        assert {line.who for line in talk.lines} <= set(talk.members)
        assert talk.name or len(talk.members) == 2
    assert sum(len(talk.lines) for talk in story.talks) >= 50
