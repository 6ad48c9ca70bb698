"""Goes once through every part of a running service, and says what is wrong with it and what to do."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Callable, Sequence
from typing import Literal

from alembic.script import ScriptDirectory
from msgspec import Struct, field
from sqlalchemy.exc import SQLAlchemyError

from chatapp.app.operating import Deaf, Site, roll_calls
from chatapp.app.replica import open_database, open_redis
from chatapp.auth.keys import SigningKey
from chatapp.bus.inspection import NodeReport, inspect_nodes
from chatapp.config import PostgresSettings, Settings
from chatapp.errors import Unavailable
from chatapp.services.roll_call import Present
from chatapp.storage.inspection import DatabaseReport, inspect_database
from chatapp.storage.migrate import alembic_config, current_revision

CLOCK_TOLERANCE_S = 0.5
_SPARE_FILES = 128
"""What a replica opens besides its sockets and database connections, generously."""

Level = Literal["ok", "warning", "problem"]
Progress = Callable[[str], None]


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that was looked at. A ``problem`` has to be mended; a ``warning`` may be meant."""

    part: Literal["configuration", "postgres", "redis", "replicas", "message"]
    level: Level
    text: str
    advice: str = ""
    """What to do, unless it is ok."""
    latency_ms: float | None = None
    """Of one round trip, where there was one."""


class Examination(Struct, kw_only=True):
    """All that was found."""

    findings: list[Finding] = field(default_factory=list)
    database: DatabaseReport | None = None
    nodes: list[NodeReport] = field(default_factory=list)
    replicas: list[Present] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """No problem was found; warnings do not count."""
        return all(finding.level != "problem" for finding in self.findings)


async def examine(site: Site, *, wait_s: float, progress: Progress) -> Examination:
    """Look at everything but the configuration. ``wait_s``: how long replicas may take to answer."""
    found = Examination()
    progress("asking PostgreSQL")
    await _postgres(site.settings.postgres_db, found)
    if site.settings.redis.is_configured:
        progress("asking Redis")
        await _redis(site.settings, found)
        progress("asking the replicas")
        await _replicas(site, found, wait_s)
    else:
        found.findings.append(
            Finding(part="redis", level="problem", text="none is configured", advice="Set REDIS_URL.")
        )
    return found


# -- PostgreSQL -------------------------------------------------------------------------------------------------------


async def _postgres(settings: PostgresSettings, found: Examination) -> None:
    database = open_database(settings)
    try:
        report = found.database = await inspect_database(database)
    except Unavailable as error:
        cause = str(getattr(error.__cause__, "orig", None) or error.__cause__ or error).partition("\n")[0]
        advice = "See that it runs, that its address and password are right, and that it has free connections."
        found.findings.append(Finding(part="postgres", level="problem", text=f"away: {cause}", advice=advice))
        return
    finally:
        await database.close()
    note = _noting(found, "postgres")
    note("ok", f"version {report.version}, connected within {report.connect_s * 1000:.0f} ms", "", report.latency_s)
    if report.read_only:
        note("problem", "it takes no writes", "It is a standby, or set so: name the primary, or several hosts.")
    else:
        note("ok", "it takes writes")
    note(*_clock("its clock", report.clock_ahead_s, report.latency_s))
    await _schema(settings, note)
    if (reading := settings.for_reading()) is not None:
        await _standby(reading, note)


async def _schema(settings: PostgresSettings, note: Note) -> None:
    try:
        current, newest = await current_revision(settings.sqlalchemy_url(), settings.connect_args())
    except (OSError, SQLAlchemyError) as error:
        reason = str(getattr(error, "orig", None) or error).partition("\n")[0]
        note("problem", f"its schema cannot be read: {reason}", "")
        return
    known = {script.revision for script in ScriptDirectory.from_config(alembic_config()).walk_revisions()}
    if current == newest:
        note("ok", f"the schema is that of this version ({newest})")
    elif current is None:
        note("problem", "it has no tables of ours", "Run `chatapp system migrate`.")
    elif current in known:
        note("problem", f"the schema is {current}, older than {newest}", "Run `chatapp system migrate`.")
    else:
        note("warning", f"the schema is {current}, newer than this version's {newest}", "Upgrade what is older.")


async def _standby(settings: PostgresSettings, note: Note) -> None:
    database = open_database(settings, patience_ms=1000)
    try:
        report = await inspect_database(database)
    except Unavailable:
        note("warning", "the standby does not answer", "Reads go to the primary meanwhile: mend postgres_db.read_url.")
    else:
        note("ok", f"the standby answers, version {report.version}", "", report.latency_s)
    finally:
        await database.close()


# -- Redis ------------------------------------------------------------------------------------------------------------


async def _redis(settings: Settings, found: Examination) -> None:
    redis = settings.redis
    note = _noting(found, "redis")
    found.nodes = await inspect_nodes(redis.mode, redis.connection_url(), redis.addresses())
    for node in found.nodes:
        what = f"{node.kind} {node.address}"
        if node.latency_s is None:
            note("problem", f"{what}: {node.problem}", "See that it runs, and that address and password are right.")
            continue
        known = [part for part in (node.version, node.role) if part is not None]
        note("ok", f"{what}: {', '.join(known) or 'version not told to our user'}", "", node.latency_s)
    bus = open_redis(redis)
    try:
        await bus.start(Deaf())
        async with asyncio.timeout(5):
            while not bus.status.connected:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        note("ok", f"what is published is heard (mode {redis.mode})", "", await bus.ping())
    except (TimeoutError, Unavailable):
        advice = "Sends succeed meanwhile and arrive within seconds. See docs/redis.md for the rights that we need."
        note("problem", f"what is published is not heard (mode {redis.mode})", advice)
    finally:
        await bus.close()


# -- replicas ---------------------------------------------------------------------------------------------------------


async def _replicas(site: Site, found: Examination, wait_s: float) -> None:
    note = _noting(found, "replicas")
    try:
        async with roll_calls(site) as asking:
            present = found.replicas = await asking.call(wait_s)
    except Unavailable:
        note("problem", "they cannot be asked without Redis", "")
        return
    if not present:
        advice = "Start one. If some run: do they use this Redis, and are they of a version that answers?"
        note("problem", f"none answered within {wait_s:g} s", advice)
        _open_files(site.settings, note)
        return
    for one in present:
        draining = ", draining" if one.report.draining else ""
        key = one.report.key_ids[0][:15] if one.report.key_ids else "none"
        text = f"{one.report.name}: version {one.report.version}, key {key}…, {one.report.connections} connections"
        note("ok", text + draining, "", one.latency_s)
        if abs(one.clock_ahead_s) > CLOCK_TOLERANCE_S + one.latency_s / 2:
            note(*_clock(f"{one.report.name}'s clock", one.clock_ahead_s, one.latency_s))
        needed = one.report.connections_limit + one.report.pool_connections + _SPARE_FILES
        if one.report.open_files_limit is not None and one.report.open_files_limit < needed:
            files, held = one.report.open_files_limit, needed - _SPARE_FILES
            text = f"{one.report.name} may open {files} files and is to hold {held} connections"
            note("warning", text, f"Raise its limit (ulimit -n) to {needed}, or lower limits.connections.")
    _agreement(site, present, note)
    _pools(site.settings.postgres_db, found.database, present, note)


def _agreement(site: Site, present: Sequence[Present], note: Note) -> None:
    """Things that must be, or should be, the same everywhere."""
    reports = [one.report for one in present]
    if len({report.epoch for report in reports}) > 1:
        note("problem", "the replicas do not use the same database", "Compare their DATABASE_URL.")
    signing = {report.key_ids[0] for report in reports if report.key_ids}
    accepted = set.intersection(*(set(report.key_ids) for report in reports))
    if not signing <= accepted:
        text = "some replicas do not take what others sign: users are logged out at random"
        note("problem", text, "Give all the same auth.paseto_key; docs/keys.md tells how to change it.")
    elif len(signing) > 1:
        note("warning", "the replicas sign with different keys", "In the midst of a change of keys: finish it.")
    if site.key is not None and (ours := SigningKey(site.key).key_id) not in accepted:
        text = f"the key that is configured here ({ours[:15]}…) is not the replicas'"
        note("warning", text, "Tokens from `chatapp token issue` will be refused.")
    if len(versions := sorted({report.version for report in reports})) > 1:
        note("warning", f"versions {', '.join(versions)} run beside each other", "In a rolling update: finish it.")
    names = [report.name for report in reports]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        note(
            "warning",
            f"several replicas are called {', '.join(repeated)}",
            "Set general.replica_name to tell them apart.",
        )


def _pools(settings: PostgresSettings, database: DatabaseReport | None, present: Sequence[Present], note: Note) -> None:
    if database is None or settings.pgbouncer:  # behind PgBouncer its own limits count
        return
    total = sum(one.report.pool_connections for one in present)
    largest = max(one.report.pool_connections for one in present)
    text = f"{len(present)} replicas open up to {total} connections; PostgreSQL has {database.connections_limit}"
    advice = "Lower postgres_db.pool_size, raise max_connections, or put PgBouncer in between (docs/postgres.md)."
    if total > database.connections_limit:
        note("problem", text, advice)
    elif total + largest > database.connections_limit:
        note("warning", f"{text}: too few for one replica more, as in a rolling update", advice)
    else:
        note("ok", text)


def _open_files(settings: Settings, note: Note) -> None:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = settings.limits.connections + settings.postgres_db.pool_size + _SPARE_FILES
    if limit != resource.RLIM_INFINITY and limit < needed:
        text = f"here a process may open {limit} files, and limits.connections is {settings.limits.connections}"
        note("warning", text, f"Where replicas run, raise the limit (ulimit -n) to {needed}.")


# -- findings ---------------------------------------------------------------------------------------------------------


class Note:
    """Adds findings about one part."""

    def __init__(
        self, findings: list[Finding], part: Literal["configuration", "postgres", "redis", "replicas", "message"]
    ) -> None:
        self._findings = findings
        self._part = part

    def __call__(self, level: Level, text: str, advice: str = "", latency_s: float | None = None) -> None:
        """One more."""
        latency_ms = None if latency_s is None else round(latency_s * 1000, 2)
        self._findings.append(Finding(part=self._part, level=level, text=text, advice=advice, latency_ms=latency_ms))


def _noting(found: Examination, part: Literal["postgres", "redis", "replicas"]) -> Note:
    return Note(found.findings, part)


def _clock(whose: str, ahead_s: float, latency_s: float) -> tuple[Level, str, str]:
    if abs(ahead_s) <= CLOCK_TOLERANCE_S + latency_s / 2:
        return "ok", f"{whose} agrees with this host's", ""
    direction = "ahead of" if ahead_s > 0 else "behind"
    return (
        "warning",
        f"{whose} is {abs(ahead_s):.1f} s {direction} this host's",
        "Synchronise the clocks (NTP): tokens and revocations have times.",
    )
