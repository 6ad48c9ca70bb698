"""One replica's metrics, all of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from chatapp.app.metrics import delivery, messages, presence, process, requests, sockets, stores
from chatapp.app.metrics.family import Reading

if TYPE_CHECKING:
    from chatapp.app.replica import Replica

_SUBJECTS = (sockets, messages, delivery, presence, stores, requests, process)


def collect(replica: Replica) -> Iterator[Reading]:
    """Read the counters of the replica's parts."""
    for subject in _SUBJECTS:
        yield from subject.collect(replica)
