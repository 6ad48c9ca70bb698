"""What the gateway counts of its connections."""

from __future__ import annotations

from typing import get_args

from msgspec import Struct, field

from chatapp.counting import Histogram
from chatapp.protocol.codes import CloseCode
from chatapp.protocol.commands import Command


class GatewayStats(Struct):
    """Counters since the start, for metrics."""

    accepted: int = 0
    """Connections."""
    handshakes_refused: dict[int, int] = field(default_factory=dict)
    """By HTTP status."""
    commands: dict[type[Command], int] = field(default_factory=lambda: dict.fromkeys(get_args(Command), 0))
    """That were valid."""
    errors: dict[str, int] = field(default_factory=dict)
    """Answers of type ``error``, by their code."""
    closed: dict[CloseCode, int] = field(default_factory=dict)
    """Connections that the server closed, and why."""
    send_to_ack_s: Histogram = field(default_factory=Histogram)

    def refused_handshake(self, status: int) -> None:
        """Count one."""
        self.handshakes_refused[status] = self.handshakes_refused.get(status, 0) + 1

    def answered_error(self, code: str) -> None:
        """Count one. Codes are the code's own, so there are few."""
        self.errors[code] = self.errors.get(code, 0) + 1

    def closed_with(self, code: CloseCode) -> None:
        """Count one."""
        self.closed[code] = self.closed.get(code, 0) + 1
