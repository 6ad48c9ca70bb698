"""Holds what clients did and saw against the rows at the end. Pure: a run in, violations out.

The promises checked are those of the protocol: a message that was acked is kept exactly once, with its content, in one
order for everyone, and everyone who follows the chat hears it once. ``check_storage`` looks at the rows,
``check_hearing`` at what each client heard.
"""

from __future__ import annotations

from tests.chaos.check_hearing import check_hearing
from tests.chaos.check_storage import check_storage
from tests.chaos.history import Run
from tests.chaos.index import Index
from tests.chaos.violations import Violation


def check(run: Run) -> list[Violation]:
    """Every promise that was broken; empty when all were kept. O(records + rows), apart from sorting."""
    index = Index.of(run)
    return [*check_storage(run, index), *check_hearing(run, index)]
