"""Which of a cluster's slots a topic belongs to (Redis Cluster specification, "Key distribution model")."""

from __future__ import annotations

from binascii import crc_hqx

SLOTS = 16384


def slot_of(topic: bytes) -> int:
    """CRC16 of the topic, or of its hash tag: what stands in the first braces, unless that is nothing."""
    start = topic.find(b"{")
    if start >= 0:
        end = topic.find(b"}", start + 1)
        if end > start + 1:
            topic = topic[start + 1 : end]
    return crc_hqx(topic, 0) % SLOTS
