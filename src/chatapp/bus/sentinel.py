"""The Redis that the Sentinels say is the master now."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from msgspec import Struct

from chatapp.bus.majority import ask_majority
from chatapp.bus.resp import Endpoint, Refused, Reply, RespConnection, connect

_logger = logging.getLogger(__name__)


class Master(Struct, frozen=True):
    """What one Sentinel says."""

    endpoint: Endpoint
    epoch: int
    """Which failover made it the master: of two Sentinels that disagree, the one with the higher number is right."""


class Sentinels:
    """Opens connections to the master, and ends them when another server has become the master.

    A master that was cut off from the Sentinels goes on answering whoever still reaches it, heartbeats included; only
    the Sentinels know that it is no master any more. So they are asked every ``interval_s``, over connections that
    stay open; while none answers, the present connections stay.
    """

    def __init__(
        self,
        sentinels: Sequence[Endpoint],
        name: str,
        server: Endpoint,
        *,
        timeout_s: float,
        interval_s: float,
    ) -> None:
        """``server`` tells how to be let in (password, TLS); its host and port do not matter."""
        self._name = name
        self._server = server
        self._timeout_s = timeout_s
        self._interval_s = interval_s
        self._inquiries = [_Inquiry(sentinel, timeout_s) for sentinel in sentinels]
        self._asking = asyncio.Lock()
        self._opened: dict[RespConnection, Endpoint] = {}

    async def dial(self, name: bytes) -> RespConnection:
        """A ``Dial``: connect to the master, and see that it knows to be one. Raises ``OSError`` or ``Refused``."""
        endpoint = await self._find()
        connection = await connect(endpoint, name=name, timeout_s=self._timeout_s)
        try:
            async with asyncio.timeout(self._timeout_s):
                (role,) = await connection.ask([(b"ROLE",)])
            _check_role(role)
        except BaseException:
            connection.abort()
            raise
        self._opened[connection] = endpoint
        connection.closed.add_done_callback(lambda _: self._opened.pop(connection, None))
        return connection

    async def watch(self) -> None:
        """Until cancelled, end connections to what is the master no more."""
        try:
            while True:
                await asyncio.sleep(self._interval_s)
                try:
                    self._leave_all_but(await self._find())
                except (OSError, Refused) as problem:
                    _logger.debug("bus sentinels: %s", problem)
                except Exception:
                    _logger.exception("bus sentinels: unexpected failure")
        finally:
            for inquiry in self._inquiries:
                inquiry.close()

    def _leave_all_but(self, master: Endpoint) -> None:
        for connection, endpoint in list(self._opened.items()):
            if endpoint != master:
                _logger.warning("bus sentinels: the master is %s now, leaving %s", master, endpoint)
                connection.abort()

    async def _find(self) -> Endpoint:
        async with self._asking:
            answers = await ask_majority([self._ask(inquiry) for inquiry in self._inquiries])
        if not answers:
            raise Refused(f"no Sentinel knows a master {self._name!r}")
        return max(answers, key=lambda master: master.epoch).endpoint

    async def _ask(self, inquiry: _Inquiry) -> Master:
        name = self._name.encode()
        address, state = await inquiry.ask(
            [(b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", name), (b"SENTINEL", b"MASTER", name)]
        )
        if not isinstance(address, list) or not isinstance(state, list):
            raise Refused(_brief(address))
        host, port = address
        fields = dict(zip(state[::2], state[1::2], strict=False))
        return Master(self._server.at(host.decode(), int(port)), int(fields[b"config-epoch"]))


class _Inquiry:
    """Questions to one Sentinel, one at a time, over a connection that stays open between them."""

    def __init__(self, sentinel: Endpoint, timeout_s: float) -> None:
        self._sentinel = sentinel
        self._timeout_s = timeout_s
        self._connection: RespConnection | None = None

    async def ask(self, commands: list[tuple[bytes, ...]]) -> list[Reply]:
        """Raises ``OSError`` or ``Refused``."""
        try:
            if self._connection is None or self._connection.closed.done():
                self._connection = await connect(self._sentinel, name=b"chatapp-sentinel", timeout_s=self._timeout_s)
            async with asyncio.timeout(self._timeout_s):
                return await self._connection.ask(commands)
        except BaseException:
            self.close()  # answers that still come would be taken for those of the next question
            raise

    def close(self) -> None:
        """End the connection; the next question opens another."""
        if self._connection is not None:
            self._connection.abort()
            self._connection = None


def _check_role(role: Reply) -> None:
    """A replica takes publishes too, and tells nobody but its own subscribers."""
    if not isinstance(role, list) or role[0] != b"master":
        raise Refused(f"the Sentinels named a server that is not the master: {_brief(role)}")


def _brief(reply: Reply) -> str:
    return str(reply)[:100]
