"""What the README tells people to paste works, as it stands there."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.acceptance.own_site import OwnSite
from tests.acceptance.replicas import bare_environment

pytestmark = pytest.mark.alone

README = Path(__file__).parents[2] / "README.md"
STARTS = {"make run": 8080, "PORT=8081 make run": 8081}
"""What stands there for starting a replica, and the port that it then has."""
PASTE_S = 40


def blocks() -> Sequence[str]:
    """The README's shell blocks, in order."""
    return re.findall(r"^```sh\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here, which the README says is needed")
def test_everything_that_can_be_pasted_works_and_shows_what_it_promises(own_site: OwnSite) -> None:
    starting = [block.strip() for block in blocks() if block.strip() in STARTS]
    pasted = [block for block in blocks() if block.strip() not in STARTS]
    assert starting == list(STARTS)
    assert len(pasted) == 2
    script = "\n".join(pasted).replace(".venv/bin/python", shlex.quote(sys.executable))
    for start in starting:
        replica = own_site.begin()
        assert f"localhost:{STARTS[start]}" in script
        script = script.replace(f"localhost:{STARTS[start]}", f"localhost:{replica.port}")
        replica.wait_ready()
    assert not re.search(r"localhost:80\d\d", script)

    shell = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script],
        capture_output=True,
        text=True,
        timeout=PASTE_S,
        env=bare_environment(),
        check=False,
    )

    assert (shell.returncode, shell.stderr) == (0, "")
    assert shell.stdout.count('"content":"over REST"') == 2  # Bob's answer, and what Ann reads
    assert '"kind":"text"' in shell.stdout
    heard = shell.stdout[shell.stdout.rindex("]") + 1 :].splitlines()
    assert "message over REST" in heard  # it was there before Bob's socket, and is replayed first
    assert "message live" in heard
    assert heard.index("message over REST") < heard.index("message live") == len(heard) - 1
