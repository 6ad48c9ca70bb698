"""The page in a real browser: people on two replicas, and what may go wrong."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.acceptance.client import Rest
from tests.acceptance.replicas import ReplicaProcess, Replicas
from tests.web.conftest import People
from tests.web.demo import write_screenshots
from tests.web.person import WAIT_MS

pytestmark = [pytest.mark.alone, pytest.mark.timeout(120)]

Two = tuple[ReplicaProcess, ReplicaProcess]

HOSTILE_NAME = "<img src=x onerror=alert(1)> \u202eevil\u202c"
SCRIPT = "<script>document.title='owned'</script><b onclick=alert(1)>bold</b> javascript:alert(1)"
BIDI = "\u202e\u2066\u2067txet desrever \u0645\u0631\u062d\u0628\u0627"
EMOJI = "\U0001f600" * 4000
WORD = "w" * 16000
ZALGO = "z" + "\u0315\u0322\u0489" * 800


async def test_two_people_on_two_replicas_chat(two: Two, rest: Rest, people: People) -> None:
    ann, bob = await asyncio.gather(people.come("ann", two[0]), people.come("bob", two[1]))

    await ann.page.get_by_role("button", name="New chat").click()
    await ann.page.get_by_role("searchbox", name="Find people").fill(bob.account.username)
    await ann.page.get_by_role("checkbox", name=bob.account.username).check()
    await ann.page.get_by_label("Name of the chat").fill("climbing")
    await ann.page.get_by_role("button", name="Create group").click()
    await expect(ann.page.get_by_role("heading", name="climbing")).to_be_visible()
    await ann.say("Hello from the first replica")

    await expect(bob.page.locator(".badge")).to_contain_text("1 unread message")
    await bob.enter("climbing")
    await bob.reads("Hello from the first replica")
    await expect(bob.page.locator(".badge")).to_have_count(0)
    await bob.field.press_sequentially("And from ")
    await expect(ann.page.locator(".typing.on")).to_contain_text(f"{bob.account.username} is typing")
    await bob.say("And from the second")
    await ann.reads("And from the second")
    await expect(ann.message("Hello from").get_by_label("read by")).to_be_visible()

    await ann.field.press("ArrowUp")
    await expect(ann.field).to_have_value("Hello from the first replica")
    await ann.say("Hello, all")
    await bob.reads("Hello, all")
    await expect(bob.message("Hello, all")).to_contain_text("edited")
    await bob.message("And from the second").hover()
    await bob.message("And from the second").get_by_role("button", name="Delete").click()
    await bob.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    await expect(ann.message("This message was deleted")).to_be_visible()

    await ann.page.get_by_role("button", name="Members and settings").click()
    await ann.page.get_by_label("Name of the chat").fill("bouldering")
    await ann.page.get_by_role("button", name="Rename").click()
    await expect(bob.page.get_by_role("heading", name="bouldering")).to_be_visible()
    await bob.page.reload()
    await bob.enter("bouldering")
    await bob.reads("Hello, all")

    for person in (ann, bob):
        assert await person.faults() == []


async def test_one_who_is_removed_sees_it_at_once(two: Two, rest: Rest, people: People) -> None:
    ann, bob = await asyncio.gather(people.come("ann", two[0]), people.come("bob", two[1]))
    chat = await rest.group(ann.account, bob.account, name="secrets")
    await ann.enter("secrets")
    await bob.enter("secrets")
    await bob.field.fill("half a sent")

    await ann.page.get_by_role("button", name="Members and settings").click()
    await ann.page.get_by_label(f"Actions for {bob.account.username}").click()
    await ann.page.get_by_role("button", name="Remove").click()
    await ann.page.get_by_role("dialog").get_by_role("button", name="Remove").click()

    await expect(bob.page.locator(".conversation")).to_have_count(0)
    await expect(bob.page.get_by_role("status")).to_contain_text("You are no longer in “secrets”")
    await expect(bob.page.locator(".chat-item")).to_have_count(0)
    await expect(ann.page.locator(".person")).to_have_count(1)
    await rest.send(ann.account, chat, "not for bob")
    await ann.reads("not for bob")
    assert "not for bob" not in await bob.page.content()

    await bob.page.get_by_role("button", name="Settings").click()
    await bob.page.get_by_role("button", name="Log out").click()
    await expect(bob.page.get_by_role("button", name="Log in")).to_be_visible()
    assert await bob.faults() == []


async def test_hostile_names_and_messages_do_no_harm(two: Two, rest: Rest, people: People) -> None:
    ann = await people.come("ann", two[0])
    mallory = await rest.register("mallory")
    await rest.do("PUT", f"/users/{mallory.user_id}", mallory, json={"display_name": HOSTILE_NAME})
    chat = await rest.group(mallory, ann.account, name=HOSTILE_NAME + "x" * 40)
    await expect(ann.page.locator(".chat-item")).to_have_count(1)
    await rest.send(mallory, chat, EMOJI)  # heard live, and once more below
    await ann.page.locator(".chat-item").click()
    for content in (SCRIPT, BIDI, EMOJI, EMOJI, WORD, ZALGO, "https://user:pass@evil.example/\u202egpj.exe"):
        await rest.send(mallory, chat, content)
    await rest.send(mallory, chat, "the end")
    await ann.reads("the end")

    assert await ann.texts() == [
        EMOJI, SCRIPT, BIDI, EMOJI, EMOJI, WORD, ZALGO, "https://user:pass@evil.example/\u202egpj.exe", "the end"
    ]  # fmt: skip
    assert await ann.page.locator(".text script, .text b, img").count() == 0
    await expect(ann.page).to_have_title("chatapp")
    assert await ann.page.evaluate("document.body.scrollWidth <= innerWidth")
    links = await ann.page.locator(".text a").evaluate_all("all => all.map(one => [one.getAttribute('href'), one.rel])")
    assert links == [["https://user:pass@evil.example/", "noopener noreferrer nofollow"]]
    # The name turns nothing around it: the sentence beside it reads from left to right.
    await ann.page.get_by_role("button", name="Members and settings").click()
    assert await ann.page.locator(".person bdi").first.evaluate("one => getComputedStyle(one).unicodeBidi") == "isolate"
    assert await ann.faults() == []

    await ann.page.set_viewport_size({"width": 360, "height": 640})
    assert await ann.page.evaluate("document.body.scrollWidth <= innerWidth")
    await ann.page.get_by_role("button", name="Close").click()
    assert await ann.page.evaluate("document.body.scrollWidth <= innerWidth")
    assert await ann.faults() == []


async def test_a_long_chat_is_scrolled_to_its_beginning_in_a_window_of_bounded_size(
    two: Two, rest: Rest, people: People
) -> None:
    ann = await people.come("ann", two[0])
    chat = await rest.group(ann.account, name="long")
    for start in range(0, 320, 40):
        await asyncio.gather(*(rest.send(ann.account, chat, f"number {start + n}") for n in range(40)))
    await ann.enter("long")
    await expect(ann.page.locator(".message").first).to_be_visible()
    messages = ann.page.locator(".messages")
    held = ann.message("number").nth(2)
    seq = await held.get_attribute("data-seq")
    held = ann.page.locator(f'.message[data-seq="{seq}"]')
    await held.evaluate("row => row.closest('.messages').scrollTop = row.offsetTop - 5")
    await expect(ann.page.locator(".message")).not_to_have_count(50)
    await expect(held).to_be_in_viewport(ratio=1)  # older ones came above it, and the reader is where they were

    top = ann.page.get_by_text("The beginning of this chat")
    most = 0
    for _ in range(200):
        await messages.evaluate("box => box.scrollTop = 0")
        most = max(most, await ann.page.locator(".message").count())
        if await top.is_visible():
            break
        await asyncio.sleep(0.02)
    await messages.evaluate("box => box.scrollTop = 0")
    await expect(top).to_be_in_viewport()
    assert 100 < most <= 200

    await rest.send(ann.account, chat, "meanwhile, at the end")
    assert "meanwhile, at the end" not in await ann.texts()
    await ann.page.get_by_role("button", name="To the newest").click()
    await ann.reads("meanwhile, at the end")
    await expect(ann.message("meanwhile, at the end")).to_be_in_viewport()
    assert await ann.page.locator(".message").count() <= 200


async def test_a_replica_that_is_killed_while_somebody_types_costs_nothing(
    site: Replicas, two: Two, rest: Rest, people: People
) -> None:
    ann, bob = await asyncio.gather(people.come("ann", two[0]), people.come("bob", two[1]))
    chat = await rest.group(ann.account, bob.account, name="sturdy")
    await ann.enter("sturdy")
    await bob.enter("sturdy")
    await ann.say("before")
    await bob.reads("before")

    await ann.field.press_sequentially("half a sen")
    ann.may_lose_the_service = True
    ann.replica.kill()
    await expect(ann.bar).to_contain_text("Reconnecting")
    await ann.field.press_sequentially("tence")
    await expect(ann.field).to_have_value("half a sentence")
    await ann.field.press("Enter")
    await expect(ann.message("half a sentence")).to_contain_text("waiting for the connection")
    for number in range(12):
        await bob.say(f"missed {number}")
    await bob.reads("missed 11")

    await asyncio.to_thread(site.begin(port=ann.replica.port).wait_ready)
    if await ann.bar.get_by_role("button", name="Try now").is_visible():  # else it may wait for half a minute
        await ann.page.evaluate("dispatchEvent(new Event('online'))")
    await expect(ann.bar).to_contain_text("Missed 12 messages and caught up", timeout=WAIT_MS)
    await bob.reads("half a sentence")
    await expect(ann.message("half a sentence").get_by_role("img", name="stored")).to_be_visible()
    stored = [row["content"] for row in await rest.history(bob.account, chat) if row["kind"] == "text"]
    assert sorted(stored) == sorted(["before", *(f"missed {number}" for number in range(12)), "half a sentence"])
    assert await ann.texts() == await bob.texts() == stored

    await ann.page.locator(".connection").first.click()
    await expect(ann.page.locator(".log .missed")).to_contain_text("missed 12, caught up")


async def test_what_cannot_be_sent_is_said_before(two: Two, rest: Rest, people: People) -> None:
    ann = await people.come("ann", two[0])
    await rest.group(ann.account, name="alone")
    await ann.enter("alone")
    await ann.field.fill("x" * 16385)
    await expect(ann.page.get_by_role("alert")).to_contain_text("1 bytes too long")
    await expect(ann.page.get_by_role("button", name="Send")).to_be_disabled()
    await ann.say("fits")
    await expect(ann.message("fits").get_by_role("img", name="stored")).to_be_visible()


async def test_the_page_speaks_german_and_goes_dark(two: Two, rest: Rest, people: People) -> None:
    ann = await people.come("ann", two[0], color_scheme="dark")
    await ann.page.get_by_role("button", name="Settings").click()
    await ann.page.get_by_label("Language").select_option("de")
    await expect(ann.page.get_by_role("dialog").get_by_role("heading", name="Einstellungen")).to_be_visible()
    assert await ann.page.evaluate("document.documentElement.lang") == "de"
    assert await ann.faults() == []
    await ann.page.get_by_label("Aussehen").select_option("light")
    await expect(ann.page.locator("body")).to_have_css("background-color", "rgb(243, 239, 230)")


async def test_who_is_online_is_shown_and_so_is_their_going(two: Two, rest: Rest, people: People) -> None:
    ann, bob = await asyncio.gather(people.come("ann", two[0]), people.come("bob", two[1]))
    await rest.group(ann.account, bob.account, name="present")
    await ann.enter("present")
    await ann.page.get_by_role("button", name="Members and settings").click()
    bobs_row = ann.page.locator(".person", has_text=bob.account.username)
    await expect(bobs_row).to_contain_text("online")
    await bob.page.goto("about:blank")
    await expect(bobs_row).not_to_contain_text("online")


async def test_screenshots_for_the_documentation(two: Two, rest: Rest, people: People, screenshots: Path) -> None:
    await write_screenshots(screenshots, two, rest, people)
    assert {"desktop.png", "desktop-members.png", "phone-dark.png"} <= {path.name for path in screenshots.iterdir()}
