"""What the project is made of: locked packages, nothing of others in the tree, statements made of constants."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
_SQL = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH|SET LOCAL)\b")
_ADDRESSES = re.compile(
    r"https?://[\w.-]*\b(pypi|pythonhosted|npmjs|jsdelivr|unpkg|cdnjs|docker|ghcr|quay|crates|rubygems)\.(org|io|com|net)"
    r"|--(extra-)?index-url|--find-links|--trusted-host"
)
LARGEST_BYTES = 3_000_000


def tracked() -> list[Path]:
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, timeout=30).stdout
    return [path for name in listed.decode().split("\0") if name and (path := ROOT / name).is_file()]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_locked_package_has_one_version_and_a_hash(lock: Path) -> None:
    text = "\n".join(line for line in lock.read_text().splitlines() if not line.startswith("#"))
    for requirement in text.replace("\\\n", " ").splitlines():
        assert re.match(r"[A-Za-z0-9._-]+(\[[\w,-]+\])?==\S+", requirement), requirement
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", requirement), requirement


def test_whatever_installs_packages_takes_what_is_locked_and_nothing_else() -> None:
    for path in (ROOT / "Makefile", ROOT / "Dockerfile", *(ROOT / "deploy").glob("*.sh"), ROOT / ".ci" / "run"):
        text = path.read_text()
        defined = re.search(r"^INSTALL := (.*)\n", text, re.MULTILINE)
        if defined is not None:
            text = text.replace(defined[0], "").replace("$(INSTALL)", defined[1])
        for line in text.splitlines():
            if re.search(r"(\bpip|\$\(PIP\))\b.* install ", f"{line} ") or "$(PIP) install" in line:
                assert "--no-deps" in line, f"{path.name}: {line}"
                assert ("--require-hashes" in line) == ("-r " in line), f"{path.name}: {line}"


def test_no_address_of_a_registry_and_no_foreign_program_is_in_the_tree() -> None:
    for path in tracked():
        if path == Path(__file__):
            continue
        assert path.suffix not in (".whl", ".so", ".exe", ".jar", ".pyc", ".zip"), path
        assert path.stat().st_size < LARGEST_BYTES, path
        found = _ADDRESSES.search(path.read_text(encoding="utf-8", errors="replace"))
        assert found is None, f"{path}: {found}"


# -- statements ------------------------------------------------------------------------------------------------------


def test_statements_are_put_together_from_constants_of_their_module_alone() -> None:
    count = 0
    for path in sorted((ROOT / "src" / "chatapp").rglob("*.py")):
        module = ast.parse(path.read_text())
        for statement, function in _statements(module, None):
            count += 1
            where = f"{path.relative_to(ROOT)}:{statement.lineno}"
            for part in statement.values:
                if isinstance(part, ast.FormattedValue):
                    assert isinstance(part.value, ast.Name), where
                    if not _is_constant(part.value):
                        assert function is not None, where
                        assert _has_constants(module, function.name), f"{where}: {part.value.id} may be anything"
    assert count > 20


def _statements(
    node: ast.AST, inside: ast.FunctionDef | None
) -> Iterator[tuple[ast.JoinedStr, ast.FunctionDef | None]]:
    """F-strings that begin as statements do, with the function around them."""
    for child in ast.iter_child_nodes(node):
        first = child.values[0] if isinstance(child, ast.JoinedStr) and child.values else None
        if isinstance(child, ast.JoinedStr) and isinstance(first, ast.Constant) and _SQL.match(str(first.value)):
            yield child, inside
        yield from _statements(child, child if isinstance(child, ast.FunctionDef) else inside)


def _has_constants(module: ast.Module, name: str) -> bool:
    """Whether this function is its module's own and called with constants, or by one of which the same holds."""
    calls = list(_calls(module, name, None))
    return name.startswith("_") and all(
        _is_constant(given)
        or (function is not None and isinstance(given, ast.Name) and _has_constants(module, function))
        for call, function in calls
        for given in (*call.args, *(keyword.value for keyword in call.keywords))
    )


def _is_constant(given: ast.expr) -> bool:
    return isinstance(given, ast.Constant) or (
        isinstance(given, ast.Name) and re.fullmatch(r"_?[A-Z][A-Z_]*", given.id) is not None
    )


def _calls(node: ast.AST, name: str, inside: str | None) -> Iterator[tuple[ast.Call, str | None]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Call) and isinstance(child.func, ast.Name) and child.func.id == name:
            yield child, inside
        is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        yield from _calls(child, name, child.name if is_function else inside)  # type: ignore[attr-defined]
