"""What all tests share: real servers (``tests/servers.py``) and the event loop they run on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.servers import Databases, Servers, choose, handed_down

# A machine with other work is slow, and no fault of a property.
settings.register_profile("chatapp", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("chatapp")

# Started in the background of a shell, a run ignores Ctrl-C, and so would every process that it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_SERVERS = pytest.StashKey[Servers]()
_FIXTURES = {"database_url", "redis_url", "fresh_database"}


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """What the service itself runs on."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(scope="session")
def databases(request: pytest.FixtureRequest) -> Iterator[Databases]:
    """Make databases on the run's PostgreSQL; none is left when the run is over."""
    databases = _servers(request.config).databases()
    yield databases
    databases.drop_all()


@pytest.fixture(scope="session")
def database_url(databases: Databases) -> str:
    """The address of a database that is empty at first and that this process of the run has for itself."""
    return databases.create(os.environ.get("PYTEST_XDIST_WORKER", "main"))


@pytest.fixture(scope="session")
def redis_url(request: pytest.FixtureRequest) -> str:
    """The address of a Redis (a Valkey, really) that this process of the run has for itself."""
    return _servers(request.config).redis_url()


@pytest.fixture(scope="module", autouse=True)
def nothing_in_redis_yet(request: pytest.FixtureRequest) -> None:
    """Databases begin their ids anew, so what was kept of user 1 of one module would be of another's in the next.

    A process of a divided run may come back to a module that it has left.
    """
    if _SERVERS in request.config.stash:
        request.config.stash[_SERVERS].empty_redis()


@pytest.fixture
def fresh_database(databases: Databases) -> Callable[[], str]:
    """Call it for the address of an empty database, as often as wanted, also from async tests."""
    return databases.create


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        config.stash[_SERVERS] = handed_down(config.workerinput["chatapp_servers"])


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """pytest-xdist, in the controlling process: a worker is about to be started."""
    node.workerinput["chatapp_servers"] = _servers(node.config).hand_down()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Choose before the first test, and only when one needs servers, so that the others run at once."""
    if not session.config.option.collectonly and any(
        _FIXTURES.intersection(getattr(item, "fixturenames", ())) for item in session.items
    ):
        _servers(session.config)


def pytest_unconfigure(config: pytest.Config) -> None:
    if _SERVERS in config.stash:
        config.stash[_SERVERS].close()


def _servers(config: pytest.Config) -> Servers:
    if _SERVERS not in config.stash:
        servers = config.stash[_SERVERS] = choose()
        terminal = config.pluginmanager.get_plugin("terminalreporter")
        if terminal is not None:
            terminal.ensure_newline()
            terminal.write_line(f"servers: {servers.description}")
    return config.stash[_SERVERS]
