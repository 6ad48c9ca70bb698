"""A bot that answers every message, and also what was asked while it was not running."""

import asyncio
import os
from pathlib import Path

import msgspec

from chatapp.client import Bookmark, Client, Conflict, Connected, MessageSent, NewChat, Reconnecting

KEPT = Path("parrot.json")


def answer(question: str) -> str:
    return f"{question.rstrip('?.!')}? You tell me!"


async def main() -> None:
    async with Client(os.environ.get("CHATAPP_URL", "http://localhost:8080")) as client:
        password = os.environ["CHATAPP_PASSWORD"]
        try:
            me = (await client.register("parrot", password, remember=True)).user
        except Conflict:
            me = (await client.login("parrot", password, remember=True)).user

        bookmark = msgspec.json.decode(KEPT.read_bytes(), type=Bookmark) if KEPT.exists() else Bookmark()
        async with client.session(bookmark=bookmark) as session:
            async for event in session:
                match event:
                    case Connected(url=url):
                        print(f"connected to {url}", flush=True)
                    case Reconnecting(in_s=in_s, reason=reason):
                        print(f"{reason}; trying again in {in_s:.1f} s", flush=True)
                    case NewChat(payload=chat):
                        await session.send(chat.id, "Hello! Ask me anything.", nonce=f"hello {chat.id}")
                    case MessageSent(payload=message) if message.kind == "text" and message.sender_id != me.id:
                        # A nonce of the question's own: killed here and started again, it still answers once.
                        nonce = f"answer to {message.message_id}"
                        await session.send(message.chat_id, answer(message.content), nonce=nonce)
                    case _:
                        pass
                KEPT.write_bytes(msgspec.json.encode(session.bookmark))


if __name__ == "__main__":
    asyncio.run(main())
