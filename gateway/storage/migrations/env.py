"""Runs revisions on the connection that `migrations.upgrade` made: no configuration file, no offline mode."""

from __future__ import annotations

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table="alembic_version",
    version_table_schema="lockgate",
)
# The caller holds the transaction: all revisions are applied, or none.
context.run_migrations()
