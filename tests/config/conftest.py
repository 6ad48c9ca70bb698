from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _nowhere(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory has no config.yaml."""
    directory = tmp_path_factory.mktemp("cwd")
    monkeypatch.chdir(directory)
    return directory
