"""Somebody with the page open, and what they do with it."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, ConsoleMessage, Locator, Page, Request, expect

from tests.acceptance.client import PASSWORD, Account
from tests.acceptance.replicas import ReplicaProcess

WAIT_MS = 10_000
_AXE_RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}


class Person:
    """One browser context: its own storage, like a browser of its own."""

    def __init__(self, page: Page, account: Account, replica: ReplicaProcess) -> None:
        self.page = page
        self.account = account
        self.replica = replica
        self.complaints: list[str] = []
        """What the console said that it should not have."""
        self.may_lose_the_service = False
        """A browser writes to the console when an address does not answer, whatever the page does."""
        self._strangers: list[str] = []
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", self._requested)
        page.on("websocket", lambda socket: self._addressed(socket.url))

    @classmethod
    async def open(cls, browser: Browser, account: Account, replica: ReplicaProcess, **options: Any) -> Person:
        """Open the page and log in as people do."""
        context = await browser.new_context(
            **{"locale": "en-GB", "viewport": {"width": 1180, "height": 760}, **options}
        )
        context.set_default_timeout(WAIT_MS)
        person = cls(await context.new_page(), account, replica)
        await person.page.goto(replica.url + "/")
        await person.log_in()
        return person

    async def log_in(self) -> None:
        """With the form."""
        await self.page.get_by_label("User name").fill(self.account.username)
        await self.page.get_by_label("Password").fill(PASSWORD)
        await self.page.get_by_role("button", name="Log in").click()
        await self.connected()

    async def connected(self) -> None:
        """Until the page says so."""
        await expect(self.page.locator(".connection.well").first).to_be_attached(timeout=WAIT_MS)

    async def enter(self, title: str) -> None:
        """Open a chat from the list."""
        await self.page.locator(".chat-item", has_text=title).click()
        await expect(self.page.locator(".conversation")).to_be_visible()

    @property
    def field(self) -> Locator:
        return self.page.locator(".composer textarea")

    @property
    def bar(self) -> Locator:
        """The connection, over the messages."""
        return self.page.get_by_test_id("connection-bar")

    async def say(self, text: str) -> None:
        """Write and send."""
        await self.field.fill(text)
        await self.field.press("Enter")

    def message(self, text: str) -> Locator:
        """Messages that say this. The time stands right behind the words: "missed 1" at 10:30 is not "missed 11"."""
        return self.page.locator(".message", has=self.page.locator(".text", has_text=text))

    async def reads(self, text: str) -> None:
        """Sees this message, once."""
        await expect(self.message(text)).to_have_count(1, timeout=WAIT_MS)

    async def texts(self) -> list[str]:
        """Everything that is shown of people's messages, from top to bottom."""
        return await self.page.locator(".message .text").all_text_contents()

    async def faults(self) -> list[str]:
        """What axe finds wrong and calls serious or critical."""
        found = await Axe().run(self.page, options=_AXE_RULES)
        return [
            f"{fault['id']}: {fault['help']}: {[node['html'][:160] for node in fault['nodes'][:3]]}"
            for fault in found.response["violations"]
            if fault["impact"] in ("serious", "critical")
        ]

    async def close(self) -> None:
        """Leave; the page must have kept to its service, and quiet."""
        await self.page.context.close()
        assert self._strangers == []
        assert self.complaints == []

    def _console(self, message: ConsoleMessage) -> None:
        if message.type not in ("error", "warning"):
            return
        if self.may_lose_the_service and ("net::ERR_" in message.text or "WebSocket connection" in message.text):
            return
        self.complaints.append(f"{message.type}: {message.text}")

    def _requested(self, request: Request) -> None:
        self._addressed(request.url)

    def _addressed(self, address: str) -> None:
        if urlsplit(address).netloc != f"127.0.0.1:{self.replica.port}":
            self._strangers.append(address)
