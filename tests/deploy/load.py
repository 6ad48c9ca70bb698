"""People who go on talking while the replicas under them change: ``python -m tests.deploy.load --base http://…``.

Until SIGTERM or SIGINT comes, each device follows one group, coming back whenever it is sent away, and messages are
sent over sockets and REST. Then every message must be on every device and in the chat's history, once, in one order.
Prints a report as JSON; exit status 1 if anything was lost, doubled or out of order, with ``--none-refused`` also if
any request or handshake was refused.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from chatapp.protocol.views import Chat, Message, Profile
from tests.deploy.device import Device
from tests.deploy.rest import Refused, call

_SETTLE_S = 40.0
_PAGE = 100


class _Registered(Struct, frozen=True):
    token: str
    user: Profile


class Talk:
    """A group of users with several devices each."""

    def __init__(self, base: str, users: int, devices_each: int) -> None:
        """Registers the users and makes the group; blocks. Raises ``Refused``."""
        self._base = base
        mark = secrets.token_hex(4)
        body = {"password": "a password for nobody"}
        self._people = [
            call(base, "POST", "/auth/register", _Registered, body={**body, "username": f"user-{mark}-{number}"})
            for number in range(users)
        ]
        first, *others = self._people
        ids = [person.user.id for person in others]
        group = {"name": mark, "is_group": True, "member_ids": ids}
        self._chat = call(base, "POST", "/chats", Chat, token=first.token, body=group)
        self.devices = [
            Device(base, person.token, self._chat.id, f"{person.user.username}/{number}")
            for person in self._people
            for number in range(devices_each)
        ]
        self.posted: list[str] = []
        self.refused: Counter[str] = Counter()

    async def over_rest(self, number: int, pause_s: float, stop: asyncio.Event) -> None:
        """One user's messages over REST, each repeated under its key until it is taken."""
        token = self._people[number].token
        count = 0
        while not stop.is_set():
            count += 1
            content = f"rest {number} {count}"
            body = {"chat_id": self._chat.id, "content": content}
            key = secrets.token_hex(8)
            while True:
                try:
                    await asyncio.to_thread(
                        call, self._base, "POST", "/messages", Message, token=token, body=body, key=key
                    )
                except Refused as refused:
                    self.refused[refused.reason] += 1
                    await asyncio.sleep(0.2)
                else:
                    break
            self.posted.append(content)
            await asyncio.sleep(pause_s)

    async def over_socket(self, number: int, pause_s: float, stop: asyncio.Event) -> None:
        """One device's messages over its socket."""
        count = 0
        while not stop.is_set():
            count += 1
            await self.devices[number].send(secrets.token_hex(8), f"socket {number} {count}")
            await asyncio.sleep(pause_s)

    async def history(self) -> list[Message]:
        """The whole chat, oldest first."""
        messages: list[Message] = []
        while True:
            after = messages[-1].seq if messages else 0
            path = f"/messages/chat/{self._chat.id}?after={after}&limit={_PAGE}"
            page = await asyncio.to_thread(call, self._base, "GET", path, list[Message], token=self._people[0].token)
            messages += page
            if len(page) < _PAGE:
                return messages


async def _until(condition: Callable[[], bool], within_s: float) -> bool:
    deadline = asyncio.get_running_loop().time() + within_s
    while not condition():
        if asyncio.get_running_loop().time() > deadline:
            return False
        await asyncio.sleep(0.05)
    return True


async def run(base: str, users: int, devices_each: int, started: Path | None) -> dict[str, object]:
    """Talk until a signal comes, then compare. ``started`` is touched when everybody is connected."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    talk = await asyncio.to_thread(Talk, base, users, devices_each)
    following = [asyncio.create_task(device.run()) for device in talk.devices]
    try:
        connected = await _until(lambda: all(device.connects for device in talk.devices), _SETTLE_S)
        if started is not None:
            started.touch()
        senders = [asyncio.create_task(talk.over_rest(number, 0.1, stop)) for number in range(min(4, users))]
        senders += [
            asyncio.create_task(talk.over_socket(number, 0.2, stop)) for number in range(0, len(talk.devices), 3)
        ]
        await asyncio.gather(*senders)
        acked = await _until(lambda: not any(device.unacked for device in talk.devices), _SETTLE_S)
        history = await talk.history()
        last = history[-1].seq
        caught_up = await _until(lambda: all(device.position >= last for device in talk.devices), _SETTLE_S)
    finally:
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)
    sent = Counter([*talk.posted, *(content for device in talk.devices for content in device.acked)])
    kept = Counter(message.content for message in history if message.kind == "text")
    return {
        "sent": sent.total(),
        "devices": len(talk.devices),
        "connects": sum(device.connects for device in talk.devices),
        "requests_refused": dict(talk.refused),
        "handshakes_refused": dict(sum((device.refused for device in talk.devices), Counter())),
        "wrong": [
            *([] if connected else ["not every device could connect"]),
            *([] if acked else ["a message was never acked"]),
            *([] if caught_up else ["a device did not catch up"]),
            *([] if kept == sent else [f"the history has {kept.total()} messages: not those that were sent"]),
            *(
                f"a device heard other than was sent: {at}"
                for at, d in enumerate(talk.devices)
                if Counter(d.heard) != sent
            ),
            *(wrong for device in talk.devices for wrong in device.wrong),
        ][:20],
    }


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", required=True, help="http://host:port")
    parser.add_argument("--users", type=int, default=8)
    parser.add_argument("--devices", type=int, default=3, help="of each user")
    parser.add_argument("--started", type=Path, help="a file to make when everybody is connected")
    parser.add_argument("--none-refused", action="store_true")
    given = parser.parse_args()
    report = asyncio.run(run(given.base, given.users, given.devices, given.started))
    print(json.dumps(report, indent=2))
    refused = report["requests_refused"] or report["handshakes_refused"]
    return 1 if report["wrong"] or (given.none_refused and refused) else 0


if __name__ == "__main__":
    sys.exit(main())
