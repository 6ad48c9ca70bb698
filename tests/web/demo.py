"""A few people and what they said: for the pictures in the documentation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from playwright.async_api import expect

from tests.acceptance.client import PASSWORD, Account, Rest
from tests.acceptance.replicas import ReplicaProcess
from tests.web.person import Person

if TYPE_CHECKING:
    from tests.web.conftest import People

_NAMES = {
    "ann": "Ann Lindqvist",
    "bob": "Bob Okafor",
    "mei": "Mei Tanaka",
    "jonas": "Jonas Weber",
    "zara": "Zara Haddad",
    "luis": "Luis Moreno",
}
_HIKE = (
    ("ann", "Morning! Who's in for the ridge walk on Sunday?"),
    ("mei", "Me! I can drive, three seats left."),
    ("jonas", "Count me in. Forecast says clear until four."),
    ("jonas", "I'd rather start early, then"),
    ("bob", "Early is fine. 7:30 at the station?"),
    ("ann", "7:30 it is. Coffee is on me 🥐"),
)


async def write_screenshots(
    directory: Path, two: tuple[ReplicaProcess, ReplicaProcess], rest: Rest, people: People
) -> None:
    """Write the pictures: two people on two replicas, and a phone at night."""
    accounts = {name: await _register(rest, name, shown) for name, shown in _NAMES.items()}
    hike = await _talk(rest, accounts)
    browser = people.browser
    desk = {"viewport": {"width": 1180, "height": 760}}
    phone = {
        "viewport": {"width": 390, "height": 780},
        "device_scale_factor": 2,
        "is_mobile": True,
        "has_touch": True,
        "color_scheme": "dark",
    }
    directory.mkdir(parents=True, exist_ok=True)
    bob = await Person.open(browser, accounts["bob"], two[1], **desk)
    await bob.enter("Sunday hike")
    ann = await Person.open(browser, accounts["ann"], two[0], **desk)
    await ann.enter("Sunday hike")
    await rest.send(accounts["luis"], hike, "Thanks for adding me! Is the path dog-friendly? 🐕")
    await ann.reads("dog-friendly")
    await bob.say("It is. Mine runs it twice while I walk it once.")
    await ann.reads("Mine runs it twice")
    await ann.say("Then it's settled: five people, one dog.")
    await expect(ann.message("settled").get_by_label("read by")).to_be_visible()
    await bob.field.press_sequentially("And I bought sandwi", delay=220)
    await ann.page.screenshot(path=directory / "desktop.png")
    await bob.page.get_by_role("button", name="Members and settings").click()
    await bob.page.screenshot(path=directory / "desktop-members.png")

    pocket = await Person.open(browser, accounts["ann"], two[0], **phone)
    await pocket.enter("Sunday hike")
    await pocket.reads("settled")
    await bob.field.press_sequentially("ches, two for each", delay=220)
    await expect(pocket.page.locator(".typing.on")).to_be_visible()
    await pocket.page.screenshot(path=directory / "phone-dark.png")
    for person in (ann, bob, pocket):
        await person.close()


async def _register(rest: Rest, name: str, shown: str) -> Account:
    body = {"username": name, "password": PASSWORD, "display_name": shown}
    answer = await rest.do("POST", "/auth/register", json=body)
    return Account(answer["user"]["id"], name, answer["token"])


async def _talk(rest: Rest, accounts: dict[str, Account]) -> int:
    ann, bob, mei, jonas, zara, luis = accounts.values()
    film = await rest.group(zara, ann, luis, mei, name="Film club")
    await rest.send(zara, film, "Thursday it is: “Ikiru” at mine, eight o'clock.")
    await rest.send(luis, film, "I'll bring the projector cable this time.")
    for sender, other, text in (
        (luis, ann, "Thanks for the book! Finished it in one night."),
        (mei, ann, "Found the map you asked about."),
        (bob, mei, "See you on Sunday"),
        (bob, zara, "Is the film club open to beginners?"),
    ):
        direct = await rest.do("POST", "/chats", sender, json={"is_group": False, "member_ids": [other.user_id]})
        await rest.send(sender, direct["id"], text)
    hike = await rest.group(ann, bob, mei, jonas, name="Sunday hike")
    for name, text in _HIKE:
        await rest.send(accounts[name], hike, text)
    await rest.do("POST", f"/chats/{hike}/members", ann, json={"member_ids": [luis.user_id]})
    return hike
