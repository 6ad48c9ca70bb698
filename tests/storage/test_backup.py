"""Dump and restore as docs/operations.md says, with PostgreSQL's own programs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from chatapp.embedded.postgres import _programs
from chatapp.storage import epochs
from chatapp.storage import messages as statements
from tests.servers import Databases
from tests.world import World, opened_database, opened_world

SENT = 5


def run(program: str, *arguments: str) -> None:
    environment = {name: text for name, text in os.environ.items() if not name.startswith("PG")}
    subprocess.run([_programs() / program, *arguments], check=True, env=environment, capture_output=True, timeout=30)


async def say(world: World, count: int) -> tuple[int, int]:
    """Somebody and a group with so many messages: their numbers."""
    ada = await world.somebody("ada")
    chat_id = await world.group(ada)
    for number in range(count):
        await world.messages.send(ada, chat_id, f"message {number}")
    return ada.user_id, chat_id


@pytest.mark.parametrize("target", ["another database", "the same database"])
async def test_a_restored_dump_has_what_it_had_and_begins_another_epoch(
    databases: Databases, tmp_path: Path, target: str
) -> None:
    url, dump = databases.create("backup"), tmp_path / "chatapp.dump"
    async with opened_world(url) as world:
        user_id, chat_id = await say(world, SENT)
        epoch = await epochs.recognise(world.database)
        run("pg_dump", "--format=custom", f"--file={dump}", url)
        await say(world, 1)
        assert await epochs.recognise(world.database) == epoch, "nothing has gone back in time yet"
    into = url if target == "the same database" else databases.create("restored")
    run("pg_restore", "--clean", "--if-exists", "--no-owner", "--exit-on-error", f"--dbname={into}", str(dump))
    async with opened_database(into) as restored:
        assert await epochs.recognise(restored) != epoch
        page = await statements.history(restored, chat_id, user_id, limit=50)  # type: ignore[arg-type]
        assert page is not None
        texts = [message.content for message in page if message.kind == "text"]
        assert texts == [f"message {number}" for number in reversed(range(SENT))]
