"""The marker of the tests that run servers and break them."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Known also where only this directory is collected."""
    config.addinivalue_line("markers", "chaos: runs a whole cluster under faults for tens of seconds")
