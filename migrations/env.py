"""Alembic's environment: with the connection that ``chatapp.storage.migrate`` hands over, or SQL to standard output."""

from __future__ import annotations

from alembic import context

from chatapp.storage.tables import metadata

if context.is_offline_mode():
    context.configure(dialect_name="postgresql", target_metadata=metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    connection = context.config.attributes["connection"]
    context.configure(connection=connection, target_metadata=metadata, compare_type=True, compare_server_default=True)
    with context.begin_transaction():
        context.run_migrations()
