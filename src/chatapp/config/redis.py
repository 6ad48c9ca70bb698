"""The section ``redis``."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import quote, urlsplit

from msgspec import Meta, Struct

from chatapp.config.values import Secret

EXPECTED_URL = "a URL such as redis://:password@host:6379/0 (rediss:// for TLS, unix:// for a socket)"

Node = Annotated[str, Meta(pattern=r"^(\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]@]+):[0-9]{1,5}$")]


class RedisSettings(Struct, frozen=True, kw_only=True):
    """What wakes the replicas: Redis or Valkey. Either url, host, or nodes with a mode.

    In Compose and Kubernetes set REDIS_URL, or REDIS_URL_FILE to the path of a mounted secret.
    """

    host: Annotated[str | None, Meta(description="Host name or address.")] = None
    port: Annotated[int, Meta(ge=1, le=65535, description="TCP port.")] = 6379
    password: Annotated[Secret | None, Meta(description="Password, of the default user.")] = None
    url: Annotated[
        Secret | None,
        Meta(
            description="All of the above at once, with a username where one is needed. Takes precedence over them.",
            extra={"env": "REDIS_URL", "expected": EXPECTED_URL},
        ),
    ] = None
    mode: Annotated[
        Literal["single", "sentinel", "cluster"],
        Meta(description="One server; one behind Sentinels; or a Redis Cluster, with sharded channels."),
    ] = "single"
    nodes: Annotated[
        tuple[Node, ...],
        Meta(
            description="The Sentinels, or some nodes of the cluster to find the others by.",
            extra={"expected": "a list of host:port"},
        ),
    ] = ()
    sentinel_master: Annotated[
        str, Meta(min_length=1, description="The name that the Sentinels know the server by.")
    ] = "mymaster"
    tls: Annotated[bool, Meta(description="Connect with TLS and verify the certificate. A rediss:// URL does too.")] = (
        False
    )
    allow_unencrypted: Annotated[
        bool,
        Meta(
            description="In production a Redis on another host is refused without TLS. With true it is not: for a "
            "network that is yours alone."
        ),
    ] = False

    @property
    def is_configured(self) -> bool:
        """Whether there is a Redis to connect to."""
        return self.url is not None or self.host is not None or bool(self.nodes)

    @property
    def is_encrypted(self) -> bool:
        """Whether TLS is used. A URL decides it by itself."""
        return self.tls if self.url is None else urlsplit(self.url.reveal()).scheme in ("rediss", "unix")

    def hosts(self) -> tuple[str, ...]:
        """Every host that is given, of URL, ``host`` and ``nodes``."""
        given = None if self.url is None else urlsplit(self.url.reveal()).hostname
        return (*(() if given is None else (given,)), *(host for host, _ in self.addresses()))

    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Host and port of each of ``nodes``; of ``host`` alone when there are none; empty when there is only a URL."""
        if not self.nodes:
            return () if self.host is None else ((self.host, self.port),)
        split = [node.rpartition(":") for node in self.nodes]
        return tuple((host.strip("[]"), int(port)) for host, _, port in split)

    def connection_url(self) -> str:
        """One URL for a single server (or a cluster's first node), with its password in it: keep it out of logs.

        Raises ``ValueError`` when nothing is configured.
        """
        if self.url is not None:
            return self.url.reveal()
        if not (addresses := self.addresses()):
            raise ValueError("no Redis is configured")
        host, port = addresses[0]
        password = "" if self.password is None else f":{quote(self.password.reveal(), safe='')}@"
        return f"{'rediss' if self.tls else 'redis'}://{password}{f'[{host}]' if ':' in host else host}:{port}/0"


def check_url(text: str) -> None:
    """Raises ``ValueError``, which does not quote the text, for what is not the URL of a Redis."""
    try:
        url = urlsplit(text)
        _ = url.port
    except ValueError:
        raise ValueError("what is not a URL") from None
    if url.scheme not in ("redis", "rediss", "unix"):
        raise ValueError("a URL of something else")
    if not (url.path if url.scheme == "unix" else url.hostname):
        raise ValueError("a URL without a host")
