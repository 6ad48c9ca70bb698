"""``doctor``: whether everything is there and fits together."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chatapp.cli.configured import config_option
from chatapp.cli.operated import find_site, json_option, print_json, progress, read_secret, run_to_end
from chatapp.cli.untrusted import one_line

if TYPE_CHECKING:
    from chatapp.app.doctor import Examination, Finding

_MARKS = {"ok": ("ok     ", "green"), "warning": ("warning", "yellow"), "problem": ("PROBLEM", "red")}


@click.command()
@config_option
@click.option("--wait", type=click.FloatRange(0.05, 30), default=1.0, show_default=True, help="Seconds for answers.")
@click.option(
    "--probe",
    metavar="USER",
    help="Also send a real message as this user, to themselves, hear it and delete it. The password is "
    "CHATAPP_PASSWORD, asked for, or the first line of standard input.",
)
@click.option(
    "--url",
    "urls",
    multiple=True,
    envvar="CHATAPP_URL",
    help="Where --probe connects.  [env: CHATAPP_URL; default: the configured port on this host]",
)
@json_option
@click.pass_context
def doctor(
    context: click.Context, path: Path | None, wait: float, probe: str | None, urls: tuple[str, ...], as_json: bool
) -> None:
    """Go once through every part of the service, and tell what is wrong and what to do.

    Configuration, PostgreSQL, Redis (each node), each replica that answers: how fast, which version, key and clock, and
    whether they fit together. Exits with 1 when there is a problem; warnings do not count.
    """
    password = (os.environ.get("CHATAPP_PASSWORD") or read_secret("Password")) if probe else ""

    async def act(now: Callable[[str], None]) -> Examination:
        from chatapp.app.doctor import examine

        found = await examine(site, wait_s=wait, progress=now)
        found.findings[:0] = _configuration(path)
        if probe:
            now("sending a message")
            found.findings += await _probe(urls or (_own_url(path),), probe, password)
        return found

    with progress("looking at the configuration") as now:
        site = find_site(path)
        found = run_to_end(act(now))
    if as_json:
        print_json(_as_tree(found))
    else:
        for finding in found.findings:
            _print(finding)
    context.exit(0 if found.ok else 1)


def _configuration(path: Path | None) -> list[Finding]:
    """As ``server start`` would find it here; an operator's host need not have all that a replica needs."""
    from chatapp.app.doctor import Finding
    from chatapp.config import ConfigError, load

    try:
        settings = load(path, os.environ)
    except ConfigError as error:
        advice = "Nothing to do, if no replica is started with it: the rest can be asked all the same."
        return [Finding(part="configuration", level="warning", text=str(error), advice=advice)]
    advice = "See docs/settings.md."
    warnings = [
        Finding(part="configuration", level="warning", text=notice, advice=advice) for notice in settings.notices
    ]
    return warnings or [Finding(part="configuration", level="ok", text="good")]


async def _probe(urls: tuple[str, ...], user: str, password: str) -> list[Finding]:
    from chatapp.app.doctor import Finding
    from chatapp.app.round_trip import message_round_trip
    from chatapp.client import ClientError

    try:
        trip = await message_round_trip(urls, user, password)
    except (ClientError, TimeoutError, ValueError) as error:
        text = f"a message did not come through: {one_line(str(error)) or 'no answer within 10 s'}"
        return [Finding(part="message", level="problem", text=text, advice="Try `chatapp chat` with the same address.")]
    return [
        Finding(part="message", level="ok", text=text, latency_ms=round(seconds * 1000, 2))
        for text, seconds in (
            ("logged in", trip.login_s),
            ("connected", trip.connect_s),
            ("sent, and acked: it was on disk", trip.ack_s),
            ("sent, and heard", trip.heard_s),
        )
    ]


def _own_url(path: Path | None) -> str:
    from chatapp.cli.configured import load_settings
    from chatapp.cli.health import own_url

    return own_url(load_settings(path, complete=False, quiet=True))


def _as_tree(found: Examination) -> dict[str, object]:
    return {
        "ok": found.ok,
        "findings": found.findings,
        "postgres": found.database,
        "redis": found.nodes,
        "replicas": [
            {"latency_ms": round(p.latency_s * 1000, 2), "clock_ahead_s": round(p.clock_ahead_s, 4), "report": p.report}
            for p in found.replicas
        ],
    }


def _print(finding: Finding) -> None:
    mark, colour = _MARKS[finding.level]
    latency = "" if finding.latency_ms is None else f"{finding.latency_ms:.1f} ms"
    text = one_line(finding.text, 1000)
    click.echo(f"{click.style(mark, fg=colour)}  {finding.part:<13}  {latency:>10}  {text}")
    if finding.advice and finding.level != "ok":
        click.echo(f"{'':<9}{'':<15}{'':<12}-> {finding.advice}")
