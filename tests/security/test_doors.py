"""There is no way to a chat or a message but the doors of ``doors.py``."""

from __future__ import annotations

import ast
import inspect
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from chatapp.storage import chats, members, messages, presence
from tests.security.doors import DOORS, GUARDS, UNASKED, Guard

SOURCE = Path(inspect.getfile(chats)).parents[1]
GUARDED = ("chats", "members", "messages", "presence", "system_rows")
_BUILDERS = ("chatapp.storage.chats", "chatapp.storage.members", "chatapp.storage.messages", "chatapp.storage.presence")


def modules() -> Iterator[tuple[str, ast.Module]]:
    """All above storage."""
    for file in sorted(SOURCE.rglob("*.py")):
        name = str(file.relative_to(SOURCE))
        if not name.startswith("storage/"):
            yield name, ast.parse(file.read_text())


def uses(name: str, tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Where a statement is used: (module and function, statement)."""
    aliases = {
        alias.asname or alias.name: alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "chatapp.storage"
        for alias in node.names
        if alias.name in GUARDED
    }

    def below(node: ast.AST, path: tuple[str, ...]) -> Iterator[tuple[str, str]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield from below(child, (*path, child.name))
                continue
            if isinstance(child, ast.Attribute) and isinstance(child.value, ast.Name) and child.value.id in aliases:
                yield f"{name} {'.'.join(path)}", f"{aliases[child.value.id]}.{child.attr}"
            yield from below(child, path)

    yield from below(tree, ())


def test_every_use_of_a_chat_or_message_in_storage_is_a_door() -> None:
    found: defaultdict[str, set[str]] = defaultdict(set)
    for name, tree in modules():
        for where, statement in uses(name, tree):
            if not statement.rpartition(".")[2][0].isupper():
                found[where].add(statement)
    assert dict(found) == {where: set(statements) for where, statements in DOORS.items()}


def test_nobody_takes_a_statement_out_of_its_module() -> None:
    """``from chatapp.storage.messages import get`` would be a door that the table does not see: types alone may go."""
    for name, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module in _BUILDERS:
                assert all(alias.name[0].isupper() for alias in node.names), name


def test_what_asks_nobodys_membership_is_called_where_it_is_known() -> None:
    for called, allowed in UNASKED.items():
        method = called.rpartition(".")[2]
        callers = {
            name
            for name, tree in modules()
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and node.attr == method and not name.startswith("services/")
        }
        assert callers == allowed


@pytest.mark.parametrize("statement", sorted({s for d in DOORS.values() for s, g in d.items() if g == "asks"}))
def test_what_is_said_to_ask_takes_the_asker(statement: str) -> None:
    module, name = statement.split(".")
    function = getattr({"chats": chats, "members": members, "messages": messages, "presence": presence}[module], name)
    assert {"user_id", "asker_id", "user_ids"} & set(inspect.signature(function).parameters)


def test_every_guard_is_explained() -> None:
    assert set(GUARDS) == set(get_args(Guard))
