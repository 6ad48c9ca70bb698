"""Where faults happen, and what one is."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

from msgspec import Struct

from tests.chaos.cluster import Cluster, Replica
from tests.chaos.load import Crowd


class Arena(Struct):
    """Where faults happen. ``rng`` is theirs alone, so that a seed repeats their choice."""

    cluster: Cluster
    crowd: Crowd
    rng: random.Random

    @property
    def any_replica(self) -> Replica:
        """One of them."""
        return self.rng.choice(self.cluster.replicas)


Act = Callable[[Arena], Awaitable[None]]
