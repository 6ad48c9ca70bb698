"""Where the service is: one address or several, tried in turn."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

import httpx


class Addresses:
    """The replicas (or load balancers) of one service, such as ``https://chat.example.org``."""

    def __init__(self, urls: tuple[str, ...]) -> None:
        """Raises ``ValueError`` for what is no ``http`` or ``https`` address, and for none at all."""
        if not urls:
            raise ValueError("the address of the service is missing")
        self._urls = tuple(_cleaned(url) for url in urls)
        self._current = 0

    def __len__(self) -> int:
        return len(self._urls)

    @property
    def current(self) -> str:
        """The one that is in use."""
        return self._urls[self._current]

    def turn(self, away_from: str | None = None) -> None:
        """Use the next one from now on. Nothing if another one is in use already than ``away_from``."""
        if away_from in (None, self.current):
            self._current = (self._current + 1) % len(self._urls)

    def copy(self) -> Addresses:
        """The same, turned on its own."""
        copied = Addresses(self._urls)
        copied._current = self._current
        return copied


def socket_url(url: str, query: str) -> str:
    """The socket of the replica at this address."""
    parts = urlsplit(url)
    scheme = "wss" if parts.scheme == "https" else "ws"
    return urlunsplit((scheme, parts.netloc, f"{parts.path}/ws", query, ""))


def _cleaned(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and bool(httpx.URL(url).host) and parts.port != 0
    except (ValueError, httpx.InvalidURL):
        is_address = False
    if not is_address:
        raise ValueError(f"{url!r} is no address like http://localhost:8080")
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))
