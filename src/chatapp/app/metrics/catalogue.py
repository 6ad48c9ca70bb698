"""All metrics, by subject."""

from __future__ import annotations

from chatapp.app.metrics import delivery, messages, page, presence, process, requests, sockets, stores
from chatapp.app.metrics.family import Family

SECTIONS: tuple[tuple[str, tuple[Family, ...]], ...] = (
    ("Connections and commands", sockets.FAMILIES),
    ("Storing messages", messages.FAMILIES),
    ("Delivery and repair", delivery.FAMILIES),
    ("Who is online", presence.FAMILIES),
    ("Redis and PostgreSQL", stores.FAMILIES),
    ("HTTP, passwords and refusals", requests.FAMILIES),
    ("The process", process.FAMILIES),
    ("Workers", page.FAMILIES),
)
