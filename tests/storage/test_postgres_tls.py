"""TLS to PostgreSQL: through something that ends it (the packages' server is built without), and to one that has it."""

from __future__ import annotations

import os
import shutil
import signal
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from chatapp.config import PostgresSettings, Secret
from chatapp.embedded.daemon import Command
from chatapp.errors import Unavailable
from chatapp.storage import probe
from chatapp.storage.engine import Database, PoolSettings
from tests.certificates import Authority, Pair, terminator
from tests.storage.private_postgres import PrivatePostgres

PASSWORD = "open-sesame"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def pair(authority: Authority) -> Pair:
    return authority.issue("127.0.0.1")


def inner_port(database_url: str) -> int:
    port = urlsplit(database_url).port
    assert port is not None
    return port


def through(database_url: str, port: int, options: str) -> PostgresSettings:
    """The same database by another port, with a password that nobody should be told in the open."""
    parts = urlsplit(database_url)
    user = f"{parts.username}:{parts.password or PASSWORD}"
    return PostgresSettings(url=Secret(f"postgres://{user}@127.0.0.1:{port}{parts.path}?{options}"))


async def reaches(settings: PostgresSettings) -> bool:
    """Whether a replica with these settings gets an answer."""
    pool = PoolSettings(size=1, timeout_s=5.0)
    database = Database(settings.sqlalchemy_url(), pool, settings.connect_args())
    try:
        await probe.ping(database)
    except Unavailable:
        return False
    finally:
        await database.close()
    return True


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
async def test_a_server_that_is_who_it_says_is_spoken_to_over_tls(
    database_url: str, authority: Authority, pair: Pair, mode: str
) -> None:
    async with terminator(pair.server_context(), inner_port(database_url), postgres=True) as server:
        settings = through(database_url, server.port, f"sslmode={mode}&sslrootcert={authority.file}")
        assert await reaches(settings)
        assert server.heard


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
async def test_a_server_of_another_authority_hears_nothing(
    database_url: str, authority: Authority, tmp_path: Path, mode: str
) -> None:
    impostor = Authority(tmp_path, "impostor").issue("127.0.0.1")
    async with terminator(impostor.server_context(), inner_port(database_url), postgres=True) as server:
        settings = through(database_url, server.port, f"sslmode={mode}&sslrootcert={authority.file}")
        assert not await reaches(settings)
        assert not server.heard


async def test_the_name_counts_for_verify_full_alone(database_url: str, authority: Authority) -> None:
    other = authority.issue("db.example.org", name="other")
    async with terminator(other.server_context(), inner_port(database_url), postgres=True) as server:
        options = f"sslrootcert={authority.file}"
        assert not await reaches(through(database_url, server.port, f"sslmode=verify-full&{options}"))
        assert not server.heard
        assert await reaches(through(database_url, server.port, f"sslmode=verify-ca&{options}"))


@pytest.mark.parametrize("mode", ["require", "verify-full"])
async def test_who_denies_tls_hears_nothing(database_url: str, authority: Authority, mode: str) -> None:
    async with terminator(None, inner_port(database_url), postgres=True) as server:
        settings = through(database_url, server.port, f"sslmode={mode}&sslrootcert={authority.file}")
        assert not await reaches(settings)
        assert not server.heard


async def test_a_replica_shows_a_certificate_where_one_is_wanted(
    database_url: str, authority: Authority, pair: Pair
) -> None:
    wants_one = pair.server_context()
    wants_one.load_verify_locations(authority.file)
    wants_one.verify_mode = ssl.CERT_REQUIRED
    client = authority.issue("chatapp", name="client")
    async with terminator(wants_one, inner_port(database_url), postgres=True) as server:
        options = f"sslmode=verify-full&sslrootcert={authority.file}"
        assert not await reaches(through(database_url, server.port, options))
        options += f"&sslcert={client.certificate}&sslkey={client.key}"
        assert await reaches(through(database_url, server.port, options))


# -- a PostgreSQL of the system, if there is one with TLS --------------------------------------------------------------


class SystemPostgres(PrivatePostgres):
    """Ends TLS itself, and lets nobody in without."""

    def __init__(self, programs: Path, home: Path, pair: Pair) -> None:
        super().__init__(home, "postgres")
        self._programs = programs
        files = {"ssl_cert_file": pair.certificate, "ssl_key_file": pair.key}
        for setting, file in files.items():
            copied = Path(shutil.copy(file, home / file.name))
            copied.chmod(0o600)
            if self._user is not None:
                os.chown(copied, self._user.uid, self._user.gid)
            self.settings[setting] = str(copied)
        self.settings |= {"ssl": "on", "ssl_min_protocol_version": "TLSv1.3"}

    def make(self) -> None:
        super().make()
        (self._data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 trust\n")

    def _command(self, program: str, *arguments: str) -> Command:
        return Command((str(self._programs / program), *arguments), self._user)


@pytest.fixture
def system_postgres(pair: Pair) -> Iterator[SystemPostgres]:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("there is no PostgreSQL of the system")
    home = Path(tempfile.mkdtemp(prefix="chatapp-postgres-"))
    home.chmod(0o755)
    server = SystemPostgres(found[-1].parent, home, pair)
    try:
        server.make()
        server.start()
        yield server
    finally:
        server.daemon.stop((signal.SIGQUIT, signal.SIGKILL), 10)
        server.daemon.close()
        shutil.rmtree(home, ignore_errors=True)


async def test_a_server_with_tls_of_its_own_is_verified(
    system_postgres: SystemPostgres, authority: Authority, tmp_path: Path
) -> None:
    good = f"?sslmode=verify-full&sslrootcert={authority.file}"
    assert await reaches(PostgresSettings(url=Secret(system_postgres.url(options=good))))
    assert not await reaches(PostgresSettings(url=Secret(system_postgres.url(options="?sslmode=disable"))))
    stranger = Authority(tmp_path, "stranger").file
    unknown = f"?sslmode=verify-full&sslrootcert={stranger}"
    assert not await reaches(PostgresSettings(url=Secret(system_postgres.url(options=unknown))))
