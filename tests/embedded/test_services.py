from __future__ import annotations

import asyncio
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import asyncpg
import pytest
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError

from chatapp.embedded import Endpoints, ExtraNotInstalled, OwnServices, OwnServicesError, launch
from chatapp.embedded.access import read_access
from chatapp.embedded.daemon import free_port
from tests.embedded.conftest import SERVERS, ServerName, Site, wait_until


async def answers(endpoints: Endpoints) -> bool:
    connection = await asyncpg.connect(endpoints.database_url)
    await connection.close()
    async with Redis.from_url(endpoints.redis_url) as redis:
        return bool(await redis.ping())


async def write_down(endpoints: Endpoints, word: str) -> None:
    connection = await asyncpg.connect(endpoints.database_url)
    await connection.execute("CREATE TABLE IF NOT EXISTS words (word text)")
    await connection.execute("INSERT INTO words VALUES ($1)", word)
    await connection.close()


async def written(endpoints: Endpoints) -> list[str]:
    connection = await asyncpg.connect(endpoints.database_url)
    rows = await connection.fetch("SELECT word FROM words")
    await connection.close()
    return [row["word"] for row in rows]


async def test_the_first_start_makes_both_servers(new_site: Site) -> None:
    with OwnServices(new_site.directory) as endpoints:
        assert await answers(endpoints)
        connection = await asyncpg.connect(endpoints.database_url)
        assert (await connection.fetchval("SHOW server_version")).startswith("18.")
        assert await connection.fetchval("SHOW fsync") == "on"
        assert await connection.fetchval("SHOW max_connections") == "200"
        assert await connection.fetchval("SELECT lower('ÄÉ')") == "äé"
        await connection.execute("CREATE DATABASE another")
        await connection.close()


async def test_nobody_gets_in_without_the_password(site: Site) -> None:
    with OwnServices(site.directory) as endpoints:
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(endpoints.database_url, password="guess")
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(endpoints.database_url, user="postgres", password="guess")
        async with Redis.from_url("redis://" + endpoints.redis_url.partition("@")[2]) as redis:
            with pytest.raises(AuthenticationError):
                await redis.ping()
    assert stat.S_IMODE(site.home.stat().st_mode) == 0o700
    kept = [path for path in site.home.iterdir() if path.is_file()]
    assert kept
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept} == {0o600}


async def test_a_second_process_joins_the_same_two(site: Site) -> None:
    _, first = site.replica()
    pids = site.pids()
    _, second = site.replica()
    assert second == first
    assert site.pids() == pids
    assert await answers(second)


async def test_the_last_one_out_stops_them_and_the_data_stays(site: Site) -> None:
    first, endpoints = site.replica()
    second, _ = site.replica()
    first.leave()
    assert await answers(endpoints)
    await write_down(endpoints, "kept")
    second.leave()
    assert site.pids() == [None, None]
    with OwnServices(site.directory) as again:
        assert again == endpoints
        assert await written(again) == ["kept"]


async def test_replicas_that_start_at_the_same_moment_get_the_same_two(new_site: Site) -> None:
    beginning = [new_site.begin_replica() for _ in range(4)]
    found = [replica.endpoints() for replica in beginning]
    assert [endpoints for endpoints in found if endpoints != found[0]] == []
    assert await answers(found[0])
    for replica in beginning:
        replica.leave()
    assert new_site.pids() == [None, None]


async def test_a_ctrl_c_in_one_terminal_leaves_the_servers_to_the_others(site: Site) -> None:
    starter, endpoints = site.replica()
    other, _ = site.replica()
    pids = site.pids()
    starter.interrupt_terminal()
    assert await answers(endpoints)
    assert site.pids() == pids
    other.interrupt_terminal()
    assert site.pids() == [None, None]


async def test_servers_outlive_a_killed_replica_and_end_with_the_last_clean_exit(site: Site) -> None:
    killed, endpoints = site.replica()
    pids = site.pids()
    killed.kill()
    assert site.pids() == pids
    next_one, found = site.replica()
    assert found == endpoints
    assert site.pids() == pids
    next_one.leave()
    assert site.pids() == [None, None]


@pytest.mark.parametrize("server", SERVERS)
async def test_the_next_start_brings_a_killed_server_back_where_it_was(site: Site, server: ServerName) -> None:
    first, endpoints = site.replica()
    await write_down(endpoints, "committed")
    before = site.pids()
    site.kill_server(server)
    second, found = site.replica()
    assert found == endpoints
    assert await answers(found)
    assert await written(found) == ["committed"]
    assert [pid for pid in site.pids() if pid not in before] == [site.pid(server)]
    first.leave()
    assert await answers(found)
    second.leave()
    assert site.pids() == [None, None]


@pytest.mark.parametrize("server", SERVERS)
async def test_leaving_when_a_server_was_killed_is_no_error(site: Site, server: ServerName) -> None:
    replica, _ = site.replica()
    site.kill_server(server)
    replica.leave()
    assert site.pids() == [None, None]


@pytest.mark.parametrize(
    ("moment", "and_all_it_started"),
    [
        ("lock", False),
        ("pgdata.new", False),
        ("pgdata.new/PG_VERSION", False),
        ("pgdata.new/PG_VERSION", True),
        ("pgdata.new/postmaster.pid", False),
        ("pgdata", False),
        ("pgdata", True),
        ("postgres.json", False),
        ("pgdata/postmaster.pid", False),
        ("pgdata/postmaster.pid", True),
        ("valkey.conf", False),
        ("valkey.conf", True),
    ],
)
async def test_a_first_start_killed_at_any_moment_is_mended_by_the_next(
    new_site: Site, moment: str, and_all_it_started: bool
) -> None:
    starter = new_site.begin_replica()
    wait_until(lambda: (new_site.home / moment).exists())
    starter.kill()
    if and_all_it_started:
        new_site.kill_everything()
    with OwnServices(new_site.directory) as endpoints:
        assert await answers(endpoints)
    assert new_site.pids() == [None, None]
    assert not (new_site.home / "pgdata.new").exists()


async def test_a_start_after_a_loss_of_power_finds_what_was_committed(site: Site) -> None:
    _, endpoints = site.replica()
    await write_down(endpoints, "committed")
    site.kill_everything()
    with OwnServices(site.directory) as again:
        assert again == endpoints
        assert await written(again) == ["committed"]


async def test_a_process_id_that_means_another_process_now_does_not_matter(site: Site) -> None:
    site.replica()
    site.kill_everything()
    owner = (site.home / "pgdata").stat().st_uid
    with subprocess.Popen(["sleep", "60"], user=owner, start_new_session=True) as innocent:
        pid_file = site.home / "pgdata" / "postmaster.pid"
        _, _, rest = pid_file.read_text().partition("\n")
        pid_file.write_text(f"{innocent.pid}\n{rest}")
        for server in SERVERS:
            (site.home / f"{server}.lock").write_text(str(innocent.pid))
        with OwnServices(site.directory) as endpoints:
            assert await answers(endpoints)
        assert innocent.poll() is None
        innocent.kill()


async def test_a_port_that_was_taken_meanwhile_is_changed(site: Site) -> None:
    with OwnServices(site.directory) as before:
        pass
    access = read_access(site.home / "postgres.json")
    assert access is not None

    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    intruder = await asyncio.start_server(hang_up, "127.0.0.1", access.port)
    async with intruder:
        with OwnServices(site.directory) as endpoints:
            assert endpoints.database_url != before.database_url
            assert endpoints.redis_url == before.redis_url
            assert await answers(endpoints)


@pytest.mark.parametrize(
    ("running", "content"),
    [(False, None), (False, '{"port": 1'), (True, None)],
    ids=["stopped", "stopped-spoiled", "running"],
)
async def test_lost_passwords_are_made_anew_and_the_data_stays(site: Site, running: bool, content: str | None) -> None:
    replica, endpoints = site.replica()
    await write_down(endpoints, "kept")
    if not running:
        replica.leave()
    for server in SERVERS:
        if content is None:
            (site.home / f"{server}.json").unlink()
        else:
            (site.home / f"{server}.json").write_text(content)
    with OwnServices(site.directory) as again:
        assert await answers(again)
        assert await written(again) == ["kept"]


async def test_a_removed_directory_is_made_anew_and_its_servers_still_end(site: Site) -> None:
    replica, old = site.replica()
    valkey = site.pid("valkey")
    assert valkey is not None
    site.home.rename(site.directory / "removed")
    with OwnServices(site.directory) as new:
        assert new != old
        assert await answers(new)
    replica.leave()
    wait_until(lambda: not Path(f"/proc/{valkey}").exists())


async def test_a_deep_directory_with_an_odd_name_is_fine(sites: Callable[[Path], Site], tmp_path: Path) -> None:
    directory = tmp_path.joinpath(*["a 'deep' \"directory\" $HOME ü"] * 12)
    directory.mkdir(parents=True)
    assert len(str(directory)) > 300
    replica, endpoints = sites(directory).replica()
    assert await answers(endpoints)
    replica.leave()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else; all other tests cover this then")
async def test_an_ordinary_user_can_start_them(new_site: Site) -> None:
    os.chown(new_site.directory, 65534, 65534)
    replica, endpoints = new_site.replica([sys.executable, "-I", "-S", launch.__file__, "--user", "65534:65534", "--"])
    assert await answers(endpoints)
    assert (new_site.home / "pgdata").stat().st_uid == 65534
    assert new_site.home.stat().st_uid == 65534
    replica.leave()
    assert new_site.pids() == [None, None]


def test_postgresql_is_not_started_twice_on_the_same_data(site: Site) -> None:
    site.replica()
    (site.home / "postgres.lock").unlink()
    with pytest.raises(OwnServicesError, match=r"postmaster\.pid"):
        OwnServices(site.directory).start()


def test_a_start_that_fails_quotes_the_log_and_leaves_nothing_running(site: Site) -> None:
    with OwnServices(site.directory):
        pass
    (site.home / "pgdata" / "PG_VERSION").write_text("9.6\n")
    with pytest.raises(OwnServicesError) as caught:
        OwnServices(site.directory).start()
    assert str(site.home / "postgres.log") in str(caught.value)
    assert "9.6" in str(caught.value)
    assert site.pids() == [None, None]


@pytest.mark.parametrize("module", ["postgres", "valkey"])
def test_a_missing_package_is_said_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    monkeypatch.setattr(f"chatapp.embedded.{module}.find_spec", lambda _name: None)
    with pytest.raises(ExtraNotInstalled, match=r"chatapp\[embedded\].*DATABASE_URL.*REDIS_URL"):
        OwnServices(tmp_path).start()


def test_a_directory_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OwnServicesError, match="cannot be used"):
        OwnServices(tmp_path / "nowhere").start()


def test_stop_without_a_start_does_nothing(tmp_path: Path) -> None:
    OwnServices(tmp_path).stop()
    assert list(tmp_path.iterdir()) == []


def test_starting_twice_is_refused(site: Site) -> None:
    services = OwnServices(site.directory)
    with services, pytest.raises(OwnServicesError):
        services.start()


def test_a_free_port_is_the_preferred_one_if_it_can_be() -> None:
    port = free_port(0)
    assert free_port(port) == port
    with closing(socket.create_server(("127.0.0.1", port))):
        assert free_port(port) != port
