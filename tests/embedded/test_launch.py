from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from chatapp.embedded import launch

LAUNCHER = (sys.executable, "-I", "-S", launch.__file__)
AS_NOBODY = (*LAUNCHER, "--user", "65534:65534", "--")

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@as_root
def test_a_command_runs_as_the_other_user_and_his_groups_only() -> None:
    script = "import os; print(os.getresuid(), os.getresgid(), os.getgroups())"
    output = subprocess.run([*AS_NOBODY, sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert output.stdout == "(65534, 65534, 65534) (65534, 65534, 65534) []\n"


@as_root
def test_the_other_user_reaches_what_is_below_a_closed_directory(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o700)
    file = tmp_path / "closed" / "file"
    file.write_text("content")
    script = "import os, sys; print(os.access(sys.argv[1], os.R_OK), open(sys.argv[1]).read())"
    output = subprocess.run(
        [*AS_NOBODY, sys.executable, "-c", script, file], capture_output=True, text=True, check=True
    )
    assert output.stdout == "True content\n"


@as_root
def test_the_other_user_keeps_one_capability_only() -> None:
    output = subprocess.run(
        [*AS_NOBODY, "/bin/grep", "Cap[PEA]", "/proc/self/status"], capture_output=True, text=True, check=True
    )
    assert {line.split()[1] for line in output.stdout.splitlines()} == {f"{1 << 1:016x}"}


def test_a_command_that_cannot_be_run_is_said_on_stderr(tmp_path: Path) -> None:
    result = subprocess.run([*LAUNCHER, "--", tmp_path / "missing"], capture_output=True, text=True, check=False)
    assert result.returncode == 126
    assert "missing: [Errno 2] No such file or directory" in result.stderr
