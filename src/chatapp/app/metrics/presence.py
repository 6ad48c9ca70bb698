"""Metrics of knowing and telling who is online."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from chatapp.app.metrics.family import Reading, counter, gauge

if TYPE_CHECKING:
    from chatapp.app.replica import Replica

ONLINE = gauge("presence_online", "Users online at any replica, as this one knows it. Without presence.enabled 0.")
VOUCHED = counter("presence_vouched", "Users vouched for in Redis, each several times in presence.offline_after_s.")
FAILURES = counter(
    "presence_failures",
    "Calls that Redis did not answer, or refused.",
    "Redis is away, or its ACL lacks presence: docs/redis.md.",
)
ANNOUNCED = counter(
    "presence_announced", "Comings and goings that this replica was the first to find, and told the others."
)
TOLD = counter("presence_told", "Events of presence written to sockets.")
DROPPED = counter(
    "presence_dropped",
    "Changes that were not told at once because too many waited. Comparisons tell them later.",
    "A storm of reconnections, or a presence.group_limit that is too high.",
)
DIFFERENCES = counter(
    "presence_differences",
    "Users whom a comparison with Redis found to be otherwise than was told.",
    "Growing without interruptions of Redis: announcements are lost or dropped.",
)

FAMILIES = (ONLINE, VOUCHED, FAILURES, ANNOUNCED, TOLD, DROPPED, DIFFERENCES)


def collect(replica: Replica) -> Iterator[Reading]:
    """Their numbers; zeros where presence is switched off."""
    company = replica.company
    online = None if company is None else company.presence.online
    yield ONLINE.of(0 if online is None else len(online))
    yield VOUCHED.of(0 if company is None else company.roll_call.stats.vouched)
    yield FAILURES.of(0 if company is None else company.roll_call.stats.failures)
    yield ANNOUNCED.of(0 if company is None else company.announcer.stats.announced)
    yield TOLD.of(0 if company is None else company.presence.stats.told)
    yield DROPPED.of(0 if company is None else company.presence.stats.dropped + company.announcer.stats.dropped)
    yield DIFFERENCES.of(0 if company is None else company.roll_call.stats.differences)
