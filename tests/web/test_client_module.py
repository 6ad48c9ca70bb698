"""``chatapp.js`` and the page's acts without a browser: clock and answers are moved by hand (``*.test.mjs``)."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

_NODE_SINCE = 20


def _node() -> str | None:
    node = shutil.which("node")
    if node is None:
        return None
    version = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=20, check=False).stdout
    found = re.match(r"v(\d+)", version)
    return node if found and int(found[1]) >= _NODE_SINCE else None


@pytest.mark.parametrize("name", ["client", "page"])
def test_the_client_and_the_page_keep_their_promises(name: str) -> None:
    node = _node()
    if node is None:
        pytest.skip(
            f"node {_NODE_SINCE} or newer is not there: apt-get install nodejs; the browser tests cover the rest"
        )
    ran = subprocess.run(
        [node, "--test", str(Path(__file__).with_name(f"{name}.test.mjs"))],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-8000:]
    assert "# fail 0" in ran.stdout
