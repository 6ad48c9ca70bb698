"""``chatapp.js`` in a run, in the place of ``Client``: a process of node; its lines are recorded as SDK events are."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from chatapp.client.errors import Unanswered, kind_of_code
from chatapp.client.events import CaughtUp, Connected, NotFollowed, Reconnecting, SessionEvent
from chatapp.protocol.events import AckPayload, ServerEvent
from chatapp.protocol.ids import ChatId, MessageId, Seq, UserId
from tests.chaos.history import ClientHistory
from tests.chaos.recorded import Hearing, Sending
from tests.chaos.sender import ANSWER_TIMEOUT_S

_DEVICE = Path(__file__).with_name("device.mjs")
_HASTE = 12
"""How much faster the client's clock goes."""
_LINE_BYTES = 2**20
_UNSURE = frozenset({"unanswered", "timeout", "stopped", "internal"})
_OWN_EVENTS = frozenset({"resynced", "start_over", "unauthorised", "broken"})
"""Which no run may bring."""

_decode = msgspec.json.Decoder(ServerEvent).decode


@cache
def node() -> str | None:
    """A node that has WebSockets, at least when it is told to; None where there is none."""
    found = shutil.which("node")
    if found is None:
        return None
    asked = [found, "--experimental-websocket", "--print", "typeof WebSocket"]
    said = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=False).stdout
    return found if said.strip() == "function" else None


class _Process:
    """A ``Device``: the process, and who waits for its answers."""

    def __init__(self, begin: dict[str, object]) -> None:
        self._begin = begin
        self._process: asyncio.subprocess.Process | None = None
        self._started = asyncio.Event()
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._refs = itertools.count(1)

    async def start(self) -> asyncio.StreamReader:
        """Where its lines come from."""
        program = node()
        assert program is not None
        self._process = await asyncio.create_subprocess_exec(
            program,
            "--no-warnings",
            "--experimental-websocket",
            str(_DEVICE),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LINE_BYTES,
        )
        self._write(self._begin)
        self._started.set()
        assert self._process.stdout is not None
        return self._process.stdout

    async def end(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    async def send(self, chat_id: ChatId, content: str, nonce: str) -> AckPayload:
        return await self._ask("send", {"chat_id": chat_id, "content": content, "nonce": nonce})

    async def change(self, message_id: MessageId, content: str | None) -> None:
        what: dict[str, object] = {} if content is None else {"content": content}
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                await self._ask("remove" if content is None else "edit", {"message_id": message_id, **what})
        except TimeoutError:
            raise Unanswered("the change") from None

    def answered(self, line: dict[str, Any]) -> None:
        answer = self._answers.get(line["ref"])
        if answer is not None and not answer.done():
            answer.set_result(line)

    async def _ask(self, command: str, payload: dict[str, object]) -> AckPayload:
        await self._started.wait()
        ref = next(self._refs)
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[ref] = answer
        self._write({"ref": ref, "command": command, "payload": payload})
        try:
            said = await answer
        finally:
            del self._answers[ref]
        if "ack" in said:
            return msgspec.convert(said["ack"], AckPayload)
        if said["code"] in _UNSURE:
            raise Unanswered(command)
        raise kind_of_code(said["code"])(said["code"], "chatapp.js says so")

    def _write(self, line: dict[str, object]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(line).encode() + b"\n")


class JsClient:
    """One user's device, as ``Client`` is. It follows everything."""

    def __init__(
        self, name: str, user_id: UserId, token: str, gateways: Sequence[str], chats: Sequence[ChatId], seed: int
    ) -> None:
        self.history = ClientHistory(name, user_id)
        self.token = token
        self.unexpected: dict[str, int] = {}
        self._urls = [f"http://{gateway}" for gateway in gateways]
        begin = {"gateways": self._urls, "token": token, "first": seed % len(gateways), "haste": _HASTE}
        self._process = _Process(begin)
        self.follower = Hearing(self.history, chats)
        self.sender = Sending(self.history, self._process)

    async def run(self) -> None:
        try:
            output = await self._process.start()
            while line := await output.readline():
                said = json.loads(line)
                if "ref" in said:
                    self._process.answered(said)
                else:
                    self._told(said["type"], said["payload"], line)
            raise AssertionError("node ended by itself")
        finally:
            await self._process.end()

    def _told(self, kind: str, payload: dict[str, Any], line: bytes) -> None:
        event = self._event(kind, payload, line)
        if event is not None:
            self.follower.on_event(event, self._urls)

    def _event(self, kind: str, payload: dict[str, Any], line: bytes) -> SessionEvent | None:
        match kind:
            case "ready":
                positions = _positions(payload)
                return Connected(
                    payload["url"], payload["connection_id"], payload["user_id"], payload["epoch"], positions
                )
            case "caught_up":
                return CaughtUp(payload["missed"], _positions(payload))
            case "status":
                return Reconnecting(0.0, str(payload["reason"]), None, "") if payload["state"] == "waiting" else None
            case "gone":
                return NotFollowed(ChatId(payload["chat_id"]), "gone")
            case "error":
                self.unexpected[payload["code"]] = self.unexpected.get(payload["code"], 0) + 1
                return None
            case _ if kind in _OWN_EVENTS:
                raise AssertionError(f"{kind}: {payload}")
            case _:
                event: SessionEvent = _decode(line)
                return event


def _positions(payload: dict[str, Any]) -> dict[ChatId, Seq]:
    return {ChatId(int(chat_id)): Seq(seq) for chat_id, seq in payload["positions"].items()}
