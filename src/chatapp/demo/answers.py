"""What the bot says. No I/O: the hour, the dice and the coin are given to it."""

from __future__ import annotations

import random
import re
from datetime import datetime

GREETING = "Hello! Ask me for the time, toss a coin or roll a die with me, or just tell me something."
HELP = "I know the time and the date, toss coins and roll dice. In a group I answer to my name."
_SMALL_TALK = (
    "Go on, I am listening.",
    "That is more than I knew a minute ago.",
    "I am a small program, but I find that interesting.",
    "And then?",
    "Tell me when it is done, I like endings.",
    "You could ask me what time it is. I am good at that.",
)


def is_addressed(text: str, name: str) -> bool:
    """Whether a message of a group is for the bot: its name stands in it."""
    return re.search(rf"\b{re.escape(name)}\b", text, re.IGNORECASE) is not None


def answer(text: str, now: datetime, rng: random.Random) -> str:
    """One sentence or two. ``now``: with the time zone that it is told in."""
    words = set(re.findall(r"[^\W\d_]+", text.lower()))
    if words & {"time", "late", "clock", "hour"}:
        return f"It is {now:%H:%M:%S} ({now:%Z})."
    if words & {"date", "day", "today"}:
        return f"Today is {now:%A}, {now.day} {now:%B} {now.year}."
    if words & {"coin", "heads", "tails", "toss", "flip"}:
        return f"It shows {rng.choice(('heads', 'tails'))}."
    if words & {"die", "dice", "roll"}:
        return f"It is a {rng.randint(1, 6)}."
    if words & {"help", "what", "who", "how"}:
        return HELP
    if words & {"hello", "hi", "hey", "morning", "evening"}:
        return "Hello! Nice to hear from you."
    if words & {"thanks", "thank", "bye"}:
        return "Any time."
    return rng.choice(_SMALL_TALK)
