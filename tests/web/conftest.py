"""A browser, two replicas, and people who use the page."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, async_playwright, expect

from tests.acceptance.client import Rest, rests
from tests.acceptance.replicas import ReplicaProcess, Replicas, replicas
from tests.servers import Databases
from tests.web.person import WAIT_MS, Person

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
HOW = "no Chromium was found: apt-get install chromium, or CHROMIUM=/path/to/it"


def find_chromium() -> str | None:
    """The browser's program: what ``CHROMIUM`` says, else what is installed."""
    given = os.environ.get("CHROMIUM")
    return given or next((found for name in _NAMES if (found := shutil.which(name))), None)


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    program = find_chromium()
    if program is None:
        pytest.skip(HOW)
    expect.set_options(timeout=WAIT_MS)
    async with async_playwright() as playwright:
        # Nothing here is untrusted, and containers have no namespaces for Chromium's sandbox.
        browser = await playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        await browser.close()


@pytest.fixture(scope="module")
def site(
    browser: Browser, databases: Databases, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Replicas]:
    """Where replicas are started; not without a browser."""
    presence = {"CHATAPP_PRESENCE__ENABLED": "true", "CHATAPP_PRESENCE__OFFLINE_AFTER_S": "4"}
    with replicas(tmp_path_factory.mktemp("web"), databases.create("web"), redis_url, **presence) as made:
        yield made


@pytest.fixture(scope="module")
def two(site: Replicas) -> tuple[ReplicaProcess, ReplicaProcess]:
    """Two replicas of one service, with names that people can tell apart."""
    one, other = (site.begin(port=0, CHATAPP_GENERAL__REPLICA_NAME=f"replica-{number}") for number in (1, 2))
    return one.wait_ready(), other.wait_ready()


@pytest.fixture
async def rest(two: tuple[ReplicaProcess, ReplicaProcess]) -> AsyncIterator[Rest]:
    """The second replica's REST: it is never killed."""
    async with rests(two[1]) as (made,):
        yield made


class People:
    """Who has the page open; what each page must not do is checked when it is closed."""

    def __init__(self, browser: Browser, rest: Rest) -> None:
        self.browser = browser
        self._rest = rest
        self._here: list[Person] = []

    async def come(self, name: str, replica: ReplicaProcess, **context: object) -> Person:
        """A new user, logged in at this replica's page."""
        account = await self._rest.register(name)
        person = await Person.open(self.browser, account, replica, **context)
        self._here.append(person)
        return person

    async def go(self) -> None:
        for person in self._here:
            await person.close()


@pytest.fixture
async def people(browser: Browser, rest: Rest) -> AsyncIterator[People]:
    made = People(browser, rest)
    yield made
    await made.go()


@pytest.fixture
def screenshots(tmp_path: Path) -> Path:
    """Where pictures go: into the documentation when they are wanted there (``make screenshots``)."""
    return Path(os.environ.get("CHATAPP_SCREENSHOTS", tmp_path))
