"""Metrics of HTTP requests, passwords and refusals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from chatapp.app.metrics.family import Reading, counter, gauge, histogram
from chatapp.limiting.allowances import Refusals

if TYPE_CHECKING:
    from chatapp.app.replica import Replica

REQUESTS = counter(
    "http_requests",
    "HTTP requests, by route (as in the description of the interface; none for what has no route), method and status.",
    "5xx: 503 is PostgreSQL or an overload, anything else a fault: look at the log.",
    "route",
    "method",
    "status",
)
DURATION = histogram(
    "http_request_seconds",
    "From a request's headers to the end of its answer, by route and method.",
    "login and register take a password hash by design; else look at the pool, and at the loop's lag.",
    "route",
    "method",
)
IN_FLIGHT = gauge("http_requests_in_flight", "Requests that are being answered.")
RATE_LIMITED = counter(
    "rate_limited",
    "What was refused because it came too often, by the rate's name (rate_limits).",
    "An attack, a client that runs wild, or a limit that is too low.",
    "rate",
)
RATE_CLOSED = counter(
    "rate_limited_sockets_closed",
    "Sockets that went on all the same and were closed (4429).",
    "As chatapp_rate_limited_total.",
)
RATE_ALONE = counter(
    "rate_limit_failures",
    "Questions to Redis about a limit that it did not answer in time: this replica then counts by itself for a moment.",
    "Redis is away or slow.",
)
RATE_TOLD = counter("rate_limit_portions", "Portions of what users did that Redis was told of.")
HASH_WAITING = gauge(
    "password_hashes_waiting",
    "Logins and registrations that wait for a core to hash on.",
    "At the limit they are refused: a login flood, or too few cores for a rush.",
)
HASH_RUNNING = gauge("password_hashes_running", "Hashes that are being computed; as many as there are cores at most.")
HASH_LIMIT = gauge("password_hashes_limit", "How many may wait: auth.argon2_queue.")
HASH_REFUSED = counter(
    "password_hashes_refused", "Logins and registrations refused because too many waited (503).", "As those that wait."
)
HASH_WAIT = histogram("password_wait_seconds", "How long they waited for a core.", "As those that wait.")
HASH_TIME = histogram(
    "password_hash_seconds", "One hash.", "Longer than usual: memory or cores are short. See auth.argon2_time_cost."
)

FAMILIES = (
    REQUESTS,
    DURATION,
    IN_FLIGHT,
    RATE_LIMITED,
    RATE_CLOSED,
    RATE_ALONE,
    RATE_TOLD,
    HASH_WAITING,
    HASH_RUNNING,
    HASH_LIMIT,
    HASH_REFUSED,
    HASH_WAIT,
    HASH_TIME,
)


_RATES = ("login", "register", "send", "command", "connect")


def collect(replica: Replica) -> Iterator[Reading]:
    """Their numbers."""
    http, passwords = replica.http_stats, replica.passwords
    yield REQUESTS.by_all({(route, method, str(status)): n for (route, method, status), n in http.answered.items()})
    yield DURATION.by_all({(route, method): spread for (route, method), spread in http.duration_s.items()})
    yield IN_FLIGHT.of(http.in_flight)
    limiter = replica.rate_limiter
    refusals = Refusals() if limiter is None else limiter.refusals
    yield RATE_LIMITED.by((rate, getattr(refusals, rate)) for rate in _RATES)
    yield RATE_CLOSED.of(refusals.sockets_closed)
    yield RATE_ALONE.of(refusals.shared_failures)
    yield RATE_TOLD.of(refusals.portions)
    yield HASH_WAITING.of(passwords.waiting)
    yield HASH_RUNNING.of(passwords.running)
    yield HASH_LIMIT.of(replica.settings.auth.argon2_queue)
    yield HASH_REFUSED.of(passwords.stats.refused)
    yield HASH_WAIT.of(passwords.stats.wait_s)
    yield HASH_TIME.of(passwords.stats.hash_s)
