"""The two C programs, compiled on the fly into a temporary directory."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from msgspec import Struct

_HERE = Path(__file__).parent
_COMPILE_TIMEOUT_S = 300


class NoCompiler(Exception):
    """There is no C compiler, so there are neither clients nor a floor."""

    def __init__(self) -> None:
        super().__init__(
            "the load generator and the floor are C programs: install a C compiler (for example the package gcc), "
            "name one in CC, or `pip install ziglang`, which contains one"
        )


class Programs(Struct, frozen=True):
    """Where the compiled programs are."""

    load: Path
    floor: Path
    compiler: str


def compile_programs(directory: Path) -> Programs:
    """Compile both. Raises ``NoCompiler``, or ``CalledProcessError`` when the compiler fails."""
    compiler = _compiler()
    for name in ("load", "floor"):
        subprocess.run(
            [*compiler, "-O2", "-o", str(directory / name), str(_HERE / f"{name}.c")],
            check=True,
            timeout=_COMPILE_TIMEOUT_S,
        )
    return Programs(directory / "load", directory / "floor", Path(compiler[0]).name)


def _compiler() -> list[str]:
    if os.environ.get("CC"):
        return shlex.split(os.environ["CC"])
    for name in ("cc", "gcc", "clang"):
        if found := shutil.which(name):
            return [found]
    if find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", "cc"]
    raise NoCompiler
