"""The rate limits that the settings ask for, and whose word on a client's address counts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from ipaddress import IPv4Network, ip_network

from chatapp.config import Settings
from chatapp.config.values import Rate
from chatapp.limiting.allowances import Allowance, Allowances
from chatapp.limiting.limiter import RateLimiter
from chatapp.limiting.opening import open_storage
from chatapp.limiting.shared import SharedCounts


def rate_limiter(settings: Settings) -> RateLimiter | None:
    """Within a running loop. None when nothing is to be counted."""
    rates, redis = settings.rate_limits, settings.redis
    if not rates.enabled:
        return None
    storage = open_storage(
        redis.mode, redis.connection_url(), nodes=redis.addresses(), sentinel_master=redis.sentinel_master
    )
    allowances = Allowances(
        login=_allowance(rates.login),
        login_address=_allowance(rates.login_address),
        register=_allowance(rates.register),
        send=_allowance(rates.send),
        command=_allowance(rates.command),
        connect=_allowance(rates.connect),
        connect_address=_allowance(rates.connect_address),
    )
    return RateLimiter(allowances, SharedCounts(storage, asyncio.get_running_loop().time))


def _allowance(rate: Rate) -> Allowance:
    return Allowance(rate.count, rate.period_s)


def trusted_hosts(proxies: Iterable[str]) -> list[str]:
    """As uvicorn compares them: networks without host bits, IPv4 also as a socket for both families shows it."""
    hosts: list[str] = []
    for proxy in proxies:
        network = ip_network(proxy, strict=False)
        hosts.append(str(network))
        if isinstance(network, IPv4Network):
            hosts.append(f"::ffff:{network.network_address}/{96 + network.prefixlen}")
    return hosts
