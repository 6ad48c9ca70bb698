"""``stats``: what the replicas do now."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from chatapp.cli.configured import config_option
from chatapp.cli.operated import find_site, json_option, print_table, progress, run_to_end

if TYPE_CHECKING:
    from chatapp.app.operating import Site
    from chatapp.app.rates import Rates

_COLUMNS = (
    "replica", "conns", "users", "rooms", "msg/s", "deliv/s", "ack p50", "p99", "deliv p50", "p99 ", "lag", "waiting",
    "gaps", "slow",
)  # fmt: skip


@click.command()
@config_option
@click.option(
    "--interval", type=click.FloatRange(0.1, 60), default=2.0, show_default=True, help="Seconds to count over."
)
@click.option("--wait", type=click.FloatRange(0.05, 30), default=0.5, show_default=True, help="Seconds for answers.")
@click.option("-w", "--watch", is_flag=True, help="Again and again, until Ctrl-C. With --json one line each.")
@json_option
def stats(path: Path | None, interval: float, wait: float, watch: bool, as_json: bool) -> None:
    """Show what each replica does now, and all together. Exits with 1 when none answers.

    The replicas are asked over Redis, all at once, so there is no address to know: it works the same in Compose, in
    Kubernetes and on one host. Latencies are in milliseconds: from a message on a socket to its ack, from its commit to
    its delivery, and the worst lag of the event loop lately.
    """
    run_to_end(_stats(find_site(path), interval, wait, watch=watch, as_json=as_json))


async def _stats(site: Site, interval_s: float, wait_s: float, *, watch: bool, as_json: bool) -> None:
    from chatapp.app.operating import roll_calls
    from chatapp.app.rates import pair, rates_of, rates_of_all

    async with roll_calls(site) as asking:
        with progress(f"counting for {interval_s:g} s"):
            before = [one.report for one in await asking.call(wait_s)]
            if not before:
                raise ValueError(f"no replica answered within {wait_s:g} s")
            await asyncio.sleep(max(0.0, interval_s - wait_s))
            now = [one.report for one in await asking.call(wait_s)]
        while True:
            pairs = pair(before, now)
            _print([rates_of(one) for one in pairs], rates_of_all(pairs), as_json=as_json, on_one_line=watch)
            if not watch:
                return
            await asyncio.sleep(max(0.0, interval_s - wait_s))
            before, now = now, [one.report for one in await asking.call(wait_s)]


def _print(each: list[Rates], total: Rates, *, as_json: bool, on_one_line: bool) -> None:
    if as_json:
        shown = msgspec.to_builtins({"replicas": each, "total": total})
        click.echo(json.dumps(shown, indent=None if on_one_line else 2))
        return
    rows = [_row(one, one.replica + (" (draining)" if one.draining else "")) for one in each]
    print_table(_COLUMNS, [*rows, _row(total, f"all {len(each)}")], right=_COLUMNS[1:])
    if on_one_line:
        click.echo()


def _row(one: Rates, name: str) -> tuple[object, ...]:
    return (
        name,
        one.connections,
        one.users,
        one.rooms,
        f"{one.messages_per_s:.1f}",
        f"{one.deliveries_per_s:.1f}",
        *(
            "-" if ms is None else f"{ms:.1f}"
            for ms in (one.ack_p50_ms, one.ack_p99_ms, one.delivery_p50_ms, one.delivery_p99_ms, one.loop_lag_ms)
        ),
        one.sends_waiting,
        one.gaps_found,
        one.slow_readers_dropped,
    )
