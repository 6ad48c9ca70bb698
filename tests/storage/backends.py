"""The ends that PostgreSQL can make of connections."""

from __future__ import annotations

END_OTHER_CLIENTS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
)
"""Ends every other connection to this database; not an autovacuum worker, which only a superuser may end."""
